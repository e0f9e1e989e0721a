/** A file of its own, which is loaded once an answer has code in a named language. */
import hljs from "highlight.js/lib/common";

const PIECE = /<span class="([^"]*)">|<\/span>|[^<]+/g;
const ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#x27;": "'",
};

/** The code with its colours; null in a language that is not known. */
export function colouredCode(code: string, language: string): DocumentFragment | null {
  if (!hljs.getLanguage(language)) return null;
  const { value } = hljs.highlight(code, { language, ignoreIllegals: true });
  const root = document.createDocumentFragment();
  let place: ParentNode & Node = root;
  // The library's HTML is read here and never parsed: a page may forbid that, and only its spans are wanted.
  for (const [piece, names] of value.matchAll(PIECE)) {
    if (names !== undefined) {
      const span = document.createElement("span");
      span.className = names;
      place = place.appendChild(span);
    } else if (piece === "</span>") {
      place = place.parentNode ?? root;
    } else {
      place.append(piece.replace(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => ENTITIES[entity] ?? entity));
    }
  }
  return root;
}
