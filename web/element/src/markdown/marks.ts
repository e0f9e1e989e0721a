import { el } from "../ui/dom.js";
import { type Block, MARK } from "./blocks.js";

/** The elements that hold no references. A mark inside one of them moves behind it. */
const CLOSED = "a, code, pre, var";

/** The letter that a reference stands behind. A line does not end between it and those before. */
const LAST_LETTER = /\S\p{M}*$/u;

/** Puts the drawn references in the places of a block's marks, and those without a place behind the block. */
export function placeMarks(fragment: DocumentFragment, block: Block, draw: (number: number) => Node): void {
  const placed = new Set<number>();
  if (block.inside.length) {
    clearAttributes(fragment);
    for (const text of textsOf(fragment)) replaceMarks(text, block, draw, placed);
  }
  const missing = [...block.inside.filter((number) => !placed.has(number)), ...block.behind];
  if (missing.length) endOf(fragment).append(...missing.map(draw));
}

/** Removes marks from addresses, because a bare address includes the mark behind it. */
function clearAttributes(fragment: DocumentFragment): void {
  for (const element of fragment.querySelectorAll("[href], [src], [alt], [title]")) {
    for (const name of ["href", "src", "alt", "title"]) {
      const value = element.getAttribute(name);
      if (value) element.setAttribute(name, value.replace(MARK, ""));
    }
  }
}

function textsOf(fragment: DocumentFragment): Text[] {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) texts.push(walker.currentNode as Text);
  return texts;
}

function replaceMarks(text: Text, { inside }: Block, draw: (number: number) => Node, placed: Set<number>): void {
  const pieces = text.data.split(MARK);
  if (pieces.length === 1) return;
  const host = outermost(text);
  const behind: Node[] = [];
  const here = pieces.map((piece, index) => {
    const number = Number(piece);
    if (index % 2 === 0 || !inside.includes(number)) return piece;
    placed.add(number);
    const node = draw(number);
    if (!host) return node;
    behind.push(node);
    return "";
  });
  host?.after(...behind);
  text.replaceWith(...(host ? here : here.flatMap(withItsLetter)));
}

/** A reference together with the letter before it, because a line may end before any reference that is by itself. */
function withItsLetter(piece: Node | string, at: number, pieces: readonly (Node | string)[]): (Node | string)[] {
  const [text, reference] = typeof piece === "string" ? [piece, pieces[at + 1]] : [pieces[at - 1], piece];
  const letter = typeof text === "string" && reference instanceof Element ? LAST_LETTER.exec(text)?.[0] : undefined;
  if (letter === undefined) return [piece];
  return [typeof piece === "string" ? piece.slice(0, -letter.length) : el("span", { class: "cited" }, letter, piece)];
}

function outermost(text: Text): Element | null {
  let found = text.parentElement?.closest(CLOSED) ?? null;
  while (found?.parentElement?.closest(CLOSED)) found = found.parentElement.closest(CLOSED);
  return found;
}

/** The last line of a block, or a new line behind a block that is not text. */
function endOf(fragment: DocumentFragment): Element {
  let last = fragment.lastElementChild;
  while (last?.lastElementChild?.matches("p, li, ul, ol, blockquote")) last = last.lastElementChild;
  if (last?.matches("p, li, h3, h4, h5, h6")) return last;
  const line = el("p");
  fragment.append(line);
  return line;
}
