import DOMPurify from "dompurify";
import type { Tokens } from "marked";
import { el, externalLink, safeHref } from "../ui/dom.js";
import { imageSource } from "../ui/images.js";
import type { ViewContext } from "../ui/view_context.js";
import { type Block, closedParts, GrowingBlocks, htmlFrom, htmlOf } from "./blocks.js";
import type { Mark } from "./citations.js";
import { CodeColours, frameCode } from "./code_block.js";
import { parseDeeplink } from "./deeplink.js";
import { directionOf } from "./direction.js";
import { frameFormula } from "./formula_view.js";
import { placeMarks } from "./marks.js";
import { END, patchNodes } from "./patch.js";

/** The tags and attributes that reach the page. No class, style, id or handler does, because answers are untrusted. */
const SANITIZE = {
  // biome-ignore format: a list of names
  ALLOWED_TAGS: [
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "img", "input", "kbd", "li",
    "mark", "ol", "p", "pre", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul", "var",
  ],
  ALLOWED_ATTR: ["align", "alt", "checked", "disabled", "href", "src", "start", "title", "type"],
  ALLOWED_URI_REGEXP: /^(?:(?:https?|mailto|tel|blob|chatkit-link):|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

/** The part of the view context that Markdown needs. */
export type MarkdownContext = Pick<ViewContext, "texts" | "imageDomains" | "emit" | "notDrawn"> &
  Partial<Pick<ViewContext, "announcer">>;

/** Draws the reference to the source with this number. */
export type DrawMark = (number: number) => Node;

interface DrawnBlock {
  readonly block: Block;
  readonly nodes: readonly ChildNode[];
}

/** The parts of a block that its last words may be in. */
const LAST_LINES = "ul, ol, li, blockquote, p, h3, h4, h5, h6, table, thead, tbody, tr, th, td, .code, pre, pre > code";

/**
 * Shows Markdown in an element and keeps it up to date while the text grows.
 *
 * Only what has changed is drawn again: of blocks the last, of a list or table its last items or rows. The block that
 * grows is changed in place, so that a selection in it stays, and code that was scrolled sideways. A text that cannot
 * be drawn is shown as plain text.
 */
export class MarkdownView {
  readonly #growing = new GrowingBlocks();
  #drawn: DrawnBlock[] = [];
  #end: Element | null = null;
  readonly #colours: CodeColours;
  /** Whether the element shows plain text, because the text could not be drawn. */
  #isAsItIs = false;

  constructor(
    readonly element: HTMLElement,
    private readonly context: MarkdownContext,
    private readonly drawMark: DrawMark = (number) => el("sup", {}, String(number)),
  ) {
    this.#colours = new CodeColours(element, context.emit);
  }

  update(text: string, marks: readonly Mark[] = []): void {
    try {
      this.#update(text, marks);
    } catch (error) {
      this.context.notDrawn("markdown", error);
      this.#drawn = [];
      const words = typeof text === "string" ? text : this.context.texts.items.partNotShown;
      this.element.replaceChildren(el("p", { class: "as-it-is" }, words));
      this.#isAsItIs = true;
    }
    this.#markEnd();
    this.#colours.schedule();
  }

  #update(text: string, marks: readonly Mark[]): void {
    const blocks = this.#growing.update(text, marks);
    if (this.#isAsItIs) this.element.replaceChildren();
    this.#isAsItIs = false;
    let kept = 0;
    while (kept < blocks.length && this.#isDrawn(kept, blocks[kept] as Block)) kept += 1;
    const [grown, ...gone] = this.#drawn.splice(kept);
    for (const { nodes } of gone) for (const node of nodes) node.remove();
    const [first, ...others] = blocks.slice(kept);
    if (grown && first) this.#drawn.push({ block: first, nodes: this.#patch(grown, first) });
    else if (grown) for (const node of grown.nodes) node.remove();
    for (const block of grown ? others : blocks.slice(kept)) {
      const fragment = this.#render(block);
      this.#drawn.push({ block, nodes: [...fragment.childNodes] });
      this.element.append(fragment);
    }
  }

  #isDrawn(index: number, block: Block): boolean {
    const drawn = this.#drawn[index]?.block;
    return drawn === block || drawn?.key === block.key;
  }

  /** Draws the block that has grown in the place of what it was. */
  #patch({ block: old, nodes }: DrawnBlock, block: Block): readonly ChildNode[] {
    const from = closedParts(old, block);
    const [frame] = nodes;
    if (from === 0 || !(frame instanceof HTMLElement)) {
      return patchNodes(nodes, [...this.#render(block).childNodes], this.element);
    }
    const fragment = this.#render(block, from);
    const isTable = block.token.type === "table";
    const shown = isTable ? (frame.querySelector("tbody") as Element) : frame;
    const fresh = (isTable ? fragment.querySelector("tbody") : fragment.firstElementChild) as HTMLElement;
    if (!isTable && frame.dir === "") frame.dir = fresh.dir;
    patchNodes([...shown.children].slice(from), [...fresh.children], shown);
    return nodes;
  }

  /** @param from the first item or row that is drawn */
  #render(block: Block, from = 0): DocumentFragment {
    const fragment = codeOf(block) ?? sanitized(from > 0 ? htmlFrom(block, from) : htmlOf(block));
    placeMarks(fragment, block, this.drawMark);
    for (const link of fragment.querySelectorAll("a:not(.cite a)")) secureLink(link as HTMLAnchorElement, this.context);
    for (const image of fragment.querySelectorAll("img")) secureImage(image, this.context.imageDomains);
    for (const input of fragment.querySelectorAll("input")) secureCheckbox(input, this.context);
    for (const table of fragment.querySelectorAll("table")) makeScrollable(table);
    for (const code of fragment.querySelectorAll("pre")) frameCode(code, this.context);
    for (const formula of fragment.querySelectorAll("var")) frameFormula(formula, this.context.emit);
    for (const part of fragment.querySelectorAll<HTMLElement>("ul, ol, blockquote, table")) {
      const direction = directionOf(part.textContent);
      if (direction !== null) part.dir = direction;
    }
    return fragment;
  }

  /** Names the element that the last words are in, where the caret of an answer that grows stands. */
  #markEnd(): void {
    let end = this.element.lastElementChild;
    while (end?.lastElementChild?.matches(LAST_LINES)) end = end.lastElementChild;
    if (end === this.#end) return;
    this.#end?.removeAttribute(END);
    end?.setAttribute(END, "");
    this.#end = end;
  }
}

/** A block of code, which is made without HTML, because a long one grows often; null for other blocks. */
function codeOf({ token }: Block): DocumentFragment | null {
  if (token.type !== "code") return null;
  const { text, lang } = token as Tokens.Code;
  const fragment = document.createDocumentFragment();
  fragment.append(el("pre", {}, el("code", { title: lang?.trim() || null }, text)));
  return fragment;
}

/** The HTML without what is not allowed. The rules are read once, because that takes as long as reading a block. */
function sanitized(html: string): DocumentFragment {
  if (!isSanitizerSet) DOMPurify.setConfig(SANITIZE);
  isSanitizerSet = true;
  return DOMPurify.sanitize(html) as unknown as DocumentFragment;
}

let isSanitizerSet = false;

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
