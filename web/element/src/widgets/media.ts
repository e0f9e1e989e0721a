import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { imageSource, picture } from "../ui/images.js";
import type { Draw, DrawContext } from "./context.js";
import { classes, type Fields, token, words, wordsOrNull } from "./fields.js";
import { applyBoxStyle, color } from "./style.js";

export const MEDIA: Readonly<Record<string, Draw>> = { Icon: drawIcon, Image: image };

function drawIcon(node: Fields): SVGSVGElement {
  const drawn = icon(words(node.name), `w-icon size-${token(node.size) ?? "md"}`);
  const hue = color(node.color);
  if (hue) drawn.style.setProperty("color", hue);
  return drawn;
}

/** An image. Its text stands in for it where it does not load or the thread does not allow its host. */
function image(node: Fields, { texts, host }: DrawContext): HTMLElement {
  const alt = words(node.alt);
  const source = imageSource(node.src, host.imageDomains);
  const instead = () => el("p", { class: "w-caption" }, alt || texts.image);
  if (!source) return instead();
  const look = classes("w-image", Boolean(node.frame) && "framed", Boolean(node.flush) && "flush");
  const element = picture(source, { class: look, alt, loading: "lazy" });
  element.addEventListener("error", () => element.replaceWith(instead()));
  applyBoxStyle(element, node);
  const fit = wordsOrNull(node.fit);
  const position = wordsOrNull(node.position);
  if (fit) element.style.setProperty("object-fit", fit);
  if (position) element.style.setProperty("object-position", position);
  return element;
}
