import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

/** The longest quotation; more of a selection is left out. */
const MAX_CHARACTERS = 2_000;
const GAP_PX = 8;
const BLOCKS = "p, li, h1, h2, h3, h4, h5, h6, pre, td, th, dt, dd, blockquote, div";

/**
 * The text of a range that a person sees, with each block on a line of its own, from the first character that is not
 * blank on. It ends with the node in which it gets as long as `enough`, because a selection may be of a whole thread.
 */
function textIn(range: Range, enough: number): string {
  let text = "";
  let block: Element | null = null;
  for (const node of textNodesFrom(range)) {
    const parent = node.parentElement;
    if (text.length >= enough || range.comparePoint(node, 0) > 0) break;
    if (parent === null || !range.intersectsNode(node)) continue;
    if (!parent.checkVisibility() || parent.closest("button, .unseen") !== null) continue;
    const start = node === range.startContainer ? range.startOffset : 0;
    const end = node === range.endContainer ? range.endOffset : node.length;
    const own = parent.closest(BLOCKS);
    if (own !== block && text !== "") text += "\n";
    block = own;
    const words = node.data.slice(start, end);
    text += text === "" ? words.trimStart() : words;
  }
  return text;
}

/** The text nodes from the start of a range on. The first may end before it. */
function* textNodesFrom({ startContainer, startOffset, commonAncestorContainer }: Range): Generator<Text> {
  const walker = document.createTreeWalker(commonAncestorContainer, NodeFilter.SHOW_TEXT);
  let first: Node = startContainer.childNodes[startOffset] ?? startContainer;
  // A start behind the last child is behind all that is in the container.
  if (first === startContainer) while (first.lastChild !== null) first = first.lastChild;
  walker.currentNode = first;
  for (let node: Node | null = first; node !== null; node = walker.nextNode()) if (node instanceof Text) yield node;
}

/** Whether the browser takes the shadow roots as the first WebKit with `getComposedRanges` does: without a name. */
let areRootsUnnamed = false;

function composedRangesOf(selection: Selection, root: ShadowRoot): StaticRange[] {
  const unnamed = selection as unknown as { getComposedRanges(...roots: ShadowRoot[]): StaticRange[] };
  if (areRootsUnnamed) return unnamed.getComposedRanges(root);
  try {
    return selection.getComposedRanges({ shadowRoots: [root] });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const ranges = unnamed.getComposedRanges(root);
    areRootsUnnamed = true;
    return ranges;
  }
}

/** Offers to quote what the person has selected in the conversation. */
export class QuoteButton {
  readonly #words = el("span");
  readonly node = el("button", { id: "quote", class: "button secondary quote", type: "button", hidden: true });

  /** @param log the place in which a selection can be quoted @param signal ends the listening */
  constructor(
    private readonly log: HTMLElement,
    onQuote: (text: string) => void,
    signal: AbortSignal,
  ) {
    this.node.append(icon("quote"), this.#words);
    document.addEventListener("selectionchange", () => this.#update(), { signal });
    // A press would end the selection before the click.
    this.node.addEventListener("pointerdown", (event) => event.preventDefault());
    this.node.addEventListener("click", () => {
      const selected = this.#selected(MAX_CHARACTERS);
      this.#selection()?.removeAllRanges();
      this.node.hidden = true;
      if (selected !== null) onQuote(selected.text);
    });
  }

  setText(text: string): void {
    this.#words.textContent = text;
  }

  #update(): void {
    // One character that can be seen is enough to offer it.
    const selected = this.#selected(1);
    this.node.hidden = selected === null;
    if (selected === null) return;
    const { left, top, width } = this.node.offsetParent?.getBoundingClientRect() ?? new DOMRect();
    const { offsetWidth, offsetHeight } = this.node;
    const x = Math.min(Math.max(0, selected.rect.left - left), Math.max(0, width - offsetWidth));
    const above = selected.rect.top - top - offsetHeight - GAP_PX;
    this.node.style.setProperty("left", `${x}px`);
    this.node.style.setProperty("top", `${above < 0 ? selected.rect.bottom - top + GAP_PX : above}px`);
  }

  /** The selection of the shadow tree: Chromium has it there, other browsers in the document. */
  #selection(): Selection | null {
    const root = this.log.getRootNode() as ShadowRoot & { getSelection?: () => Selection | null };
    return root.getSelection?.() ?? document.getSelection();
  }

  #selected(enough: number): { readonly text: string; readonly rect: DOMRect } | null {
    const selection = this.#selection();
    const range = selection === null ? null : this.#rangeOf(selection);
    if (selection === null || range === null || range.collapsed || !this.#clip(range)) return null;
    const text = textIn(range, enough).trim().slice(0, MAX_CHARACTERS);
    return text === "" ? null : { text, rect: range.getBoundingClientRect() };
  }

  /**
   * Cuts off what lies outside of the conversation: a triple click on the last paragraph reaches to what stands behind
   * it. Returns false where neither end is in the conversation.
   */
  #clip(range: Range): boolean {
    const hasStart = this.log.contains(range.startContainer);
    const hasEnd = this.log.contains(range.endContainer);
    if (!hasEnd) range.setEnd(this.log, this.log.childNodes.length);
    if (!hasStart) range.setStart(this.log, 0);
    return hasStart || hasEnd;
  }

  /** The range, also where the browser shows a selection in a shadow tree to the document only as that of its host. */
  #rangeOf(selection: Selection): Range | null {
    const root = this.log.getRootNode();
    if (root instanceof ShadowRoot && "getComposedRanges" in selection) {
      const composed = composedRangesOf(selection, root)[0];
      if (composed === undefined) return null;
      const range = document.createRange();
      range.setStart(composed.startContainer, composed.startOffset);
      range.setEnd(composed.endContainer, composed.endOffset);
      return range;
    }
    return selection.rangeCount > 0 ? selection.getRangeAt(0).cloneRange() : null;
  }
}
