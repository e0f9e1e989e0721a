/** The text that is being typed at the caret, and insertions there. */

/** A part of the text, from `start` to before `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A query that is being typed. A choice replaces `span`. */
export interface Typed {
  readonly query: string;
  readonly span: Span;
}

const MAX_QUERY_CHARACTERS = 60;
/** A query may have some spaces, because titles do; a whole sentence behind an @ is not a query. */
const QUERY = /^(?:\S+(?: \S+){0,3} ?)?$/u;
/** The end of the part before the @ of a mail address. */
const ADDRESS = /[\p{Script=Latin}\p{N}._%+-]$/u;

/** The query between an `@` and the caret; null where a complete mention stands there. */
export function mentionAt(text: string, caret: number, marks: readonly string[]): Typed | null {
  const start = text.lastIndexOf("@", caret - 1);
  if (caret === 0 || start < 0 || ADDRESS.test(text.slice(0, start))) return null;
  const query = text.slice(start + 1, caret);
  if (query.length > MAX_QUERY_CHARACTERS || query.includes("\n") || !QUERY.test(query)) return null;
  const isThere = marks.some((mark) => start + mark.length <= caret && text.startsWith(mark, start));
  return isThere ? null : { query, span: { start, end: caret } };
}

/** The query between a `/` that begins the text and the caret. */
export function commandAt(text: string, caret: number): Typed | null {
  if (caret === 0 || !text.startsWith("/")) return null;
  const query = text.slice(1, caret);
  if (query.length > MAX_QUERY_CHARACTERS || query.includes("\n") || !QUERY.test(query)) return null;
  return { query, span: { start: 0, end: caret } };
}

/** A text after an insertion, and the place of the caret in it. */
export interface Edit {
  readonly text: string;
  readonly caret: number;
}

/** Inserts words into a text, with spaces around them where needed. */
export function withWords(text: string, { start, end }: Span, words: string): Edit {
  const before = text.slice(0, start);
  const behind = text.slice(end);
  const put = `${/\S$/u.test(before) ? " " : ""}${words}${/^\s/u.test(behind) ? "" : " "}`;
  return { text: before + put + behind, caret: start + put.length };
}

/** Inserts a mark into a text like `withWords`, but without a space after an opening bracket or quotation mark. */
export function withMark(text: string, { start, end }: Span, mark: string): Edit {
  const before = text.slice(0, start);
  const behind = text.slice(end);
  const put = `${ADDRESS.test(before) ? " " : ""}${mark}${/^\s/u.test(behind) ? "" : " "}`;
  return { text: before + put + behind, caret: start + put.length };
}

/** Whether a label has the words of a query, without regard to case and accents. */
export function matches(label: string, query: string): boolean {
  return folded(label).includes(folded(query.trim()));
}

function folded(text: string): string {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
