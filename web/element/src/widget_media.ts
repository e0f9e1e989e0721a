import { el, safeImageSource } from "./dom.js";
import { icon } from "./icons.js";
import type { Draw, DrawContext } from "./widget_context.js";
import { classes, type Fields, token, words, wordsOrNull } from "./widget_fields.js";
import { applyBoxStyle, color } from "./widget_style.js";

export const MEDIA: Readonly<Record<string, Draw>> = { Icon: drawIcon, Image: image };

function drawIcon(node: Fields): SVGSVGElement {
  const drawn = icon(words(node.name), `w-icon size-${token(node.size) ?? "md"}`);
  const hue = color(node.color);
  if (hue) drawn.style.setProperty("color", hue);
  return drawn;
}

function image(node: Fields, { texts }: DrawContext): HTMLElement {
  const alt = words(node.alt);
  const source = words(node.src) ? safeImageSource(words(node.src)) : null;
  const instead = () => el("p", { class: "w-caption" }, alt || texts.image);
  if (!source) return instead();
  const look = classes("w-image", Boolean(node.frame) && "framed", Boolean(node.flush) && "flush");
  const element = el("img", { class: look, src: source, alt, loading: "lazy" });
  element.addEventListener("error", () => element.replaceWith(instead()));
  applyBoxStyle(element, node);
  const fit = wordsOrNull(node.fit);
  const position = wordsOrNull(node.position);
  if (fit) element.style.setProperty("object-fit", fit);
  if (position) element.style.setProperty("object-position", position);
  return element;
}
