import DOMPurify from "dompurify";
import { el, externalLink, safeHref } from "../ui/dom.js";
import { imageSource } from "../ui/images.js";
import type { ViewContext } from "../ui/view_context.js";
import { type Block, blocksOf, htmlOf } from "./blocks.js";
import type { Mark } from "./citations.js";
import { parseDeeplink } from "./deeplink.js";
import { directionOf } from "./direction.js";
import { placeMarks } from "./marks.js";

/** The tags and attributes that reach the page. No class, style, id or handler does, because answers are untrusted. */
const SANITIZE = {
  // biome-ignore format: a list of names
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "img", "input", "li", "ol", "p",
    "pre", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["align", "alt", "checked", "disabled", "href", "src", "start", "title", "type"],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel|blob|chatkit-link):|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

/** The part of the view context that Markdown needs. */
export type MarkdownContext = Pick<ViewContext, "texts" | "imageDomains" | "emit" | "notDrawn">;

/** Draws the reference to the source with this number. */
export type DrawMark = (number: number) => Node;

/**
 * Shows Markdown in an element and keeps it up to date while the text grows.
 *
 * Only blocks whose source has changed are drawn again: a long answer costs its last paragraph, and a selection in an
 * earlier one survives. A text that cannot be drawn is shown as plain text.
 */
export class MarkdownView {
  #blocks: { readonly key: string; readonly nodes: readonly ChildNode[] }[] = [];
  /** Whether the element shows plain text, because the text could not be drawn. */
  #isAsItIs = false;

  constructor(
    readonly element: HTMLElement,
    private readonly context: MarkdownContext,
    private readonly drawMark: DrawMark = (number) => el("sup", {}, String(number)),
  ) {}

  update(text: string, marks: readonly Mark[] = []): void {
    try {
      this.#update(text, marks);
    } catch (error) {
      this.context.notDrawn("markdown", error);
      this.#blocks = [];
      const words = typeof text === "string" ? text : this.context.texts.items.partNotShown;
      this.element.replaceChildren(el("p", { class: "as-it-is" }, words));
      this.#isAsItIs = true;
    }
  }

  #update(text: string, marks: readonly Mark[]): void {
    const blocks = blocksOf(text, marks);
    if (this.#isAsItIs) this.element.replaceChildren();
    this.#isAsItIs = false;
    let kept = 0;
    while (kept < blocks.length && this.#blocks[kept]?.key === blocks[kept]?.key) kept += 1;
    for (const { nodes } of this.#blocks.splice(kept)) for (const node of nodes) node.remove();
    for (const block of blocks.slice(kept)) {
      const fragment = this.#render(block);
      this.#blocks.push({ key: block.key, nodes: [...fragment.childNodes] });
      this.element.append(fragment);
    }
  }

  #render(block: Block): DocumentFragment {
    const fragment = DOMPurify.sanitize(htmlOf(block), SANITIZE);
    placeMarks(fragment, block, this.drawMark);
    for (const link of fragment.querySelectorAll("a:not(.cite a)")) secureLink(link as HTMLAnchorElement, this.context);
    for (const image of fragment.querySelectorAll("img")) secureImage(image, this.context.imageDomains);
    for (const input of fragment.querySelectorAll("input")) secureCheckbox(input, this.context);
    for (const table of fragment.querySelectorAll("table")) makeScrollable(table);
    for (const code of fragment.querySelectorAll("pre")) code.tabIndex = 0;
    for (const part of fragment.querySelectorAll<HTMLElement>("ul, ol, blockquote, table")) {
      const direction = directionOf(part.textContent);
      if (direction !== null) part.dir = direction;
    }
    return fragment;
  }
}

/** Draws a Markdown text that does not change. */
export function renderMarkdown(text: string, context: MarkdownContext, className = "markdown"): HTMLElement {
  const element = el("div", { class: className });
  new MarkdownView(element, context).update(text);
  return element;
}

function secureLink(link: HTMLAnchorElement, context: MarkdownContext): void {
  const address = link.getAttribute("href");
  const deeplink = parseDeeplink(address ?? "");
  if (deeplink) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      context.emit("chatkit.deeplink", deeplink);
    });
    link.addEventListener("auxclick", (event) => event.preventDefault());
    return;
  }
  const href = address ? safeHref(address) : null;
  link.removeAttribute("href");
  if (!href) return;
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
}

function secureImage(image: HTMLImageElement, domains: readonly string[]): void {
  const given = image.getAttribute("src") ?? "";
  const source = imageSource(given, domains);
  if (source === null) {
    image.replaceWith(externalLink(given, image.alt || given));
    return;
  }
  image.referrerPolicy = "no-referrer";
  image.src = source;
}

function secureCheckbox(input: HTMLInputElement, { texts }: MarkdownContext): void {
  if (input.getAttribute("type") !== "checkbox") {
    input.remove();
    return;
  }
  input.disabled = true;
  input.setAttribute("aria-label", input.checked ? texts.items.taskDone : texts.items.taskNotDone);
}

function makeScrollable(table: HTMLTableElement): void {
  const frame = el("div", { class: "scroll", tabindex: "0" });
  table.replaceWith(frame);
  frame.append(table);
}
