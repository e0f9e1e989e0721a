import { isFields } from "../../server/fields.js";
import type { UserContent } from "../../server/protocol.js";

/** The words of a message that is being written: its text with tags, and the quotation that it answers. */
export interface Words {
  readonly content: readonly UserContent[];
  readonly quotedText: string | null;
}

export const NO_WORDS: Words = { content: [], quotedText: null };

export function isEmpty({ content, quotedText }: Words): boolean {
  return content.length === 0 && quotedText === null;
}

/** All the words in their order, each text in paragraphs of its own, with the first of the quotations. */
export function joined(all: readonly Words[]): Words {
  const written = all.filter(({ content }) => content.length > 0);
  const content = written.flatMap((words, at): readonly UserContent[] =>
    at === 0 ? words.content : [{ type: "input_text", text: "\n\n" }, ...words.content],
  );
  return { content, quotedText: all.find(({ quotedText }) => quotedText !== null)?.quotedText ?? null };
}

/** The words in a value from the browser's storage, which any script of the page may write; null for another value. */
export function wordsOf(value: unknown): Words | null {
  if (!isFields(value)) return null;
  const { content, quotedText } = value;
  if (!Array.isArray(content) || !content.every(isPart)) return null;
  return typeof quotedText === "string" || quotedText === null ? { content, quotedText } : null;
}

function isPart(part: unknown): part is UserContent {
  if (!isFields(part) || typeof part.text !== "string") return false;
  if (part.type === "input_text") return true;
  const { type, id, data } = part;
  return type === "input_tag" && typeof id === "string" && (data === undefined || isFields(data));
}
