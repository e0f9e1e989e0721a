/** What is being typed at the caret, and what is put there. */

/** A part of the text: from `start`, and up to but without `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Something that is searched for as it is typed. `span` is what a choice takes the place of. */
export interface Typed {
  readonly query: string;
  readonly span: Span;
}

const MAX_QUERY_CHARACTERS = 60;
/** Titles may have spaces, but whole sentences behind an @ are no search. */
const QUERY = /^(?:\S+(?: \S+){0,3} ?)?$/u;
/** Before the @ of a mail address. */
const ADDRESS = /[\p{Script=Latin}\p{N}._%+-]$/u;

/** What stands between an `@` and the caret. Null behind a mention that is there already. */
export function mentionAt(text: string, caret: number, marks: readonly string[]): Typed | null {
  const start = text.lastIndexOf("@", caret - 1);
  if (caret === 0 || start < 0 || ADDRESS.test(text.slice(0, start))) return null;
  const query = text.slice(start + 1, caret);
  if (query.length > MAX_QUERY_CHARACTERS || query.includes("\n") || !QUERY.test(query)) return null;
  const isThere = marks.some((mark) => start + mark.length <= caret && text.startsWith(mark, start));
  return isThere ? null : { query, span: { start, end: caret } };
}

/** What stands between a `/` that begins the text and the caret. */
export function commandAt(text: string, caret: number): Typed | null {
  if (caret === 0 || !text.startsWith("/")) return null;
  const query = text.slice(1, caret);
  if (query.length > MAX_QUERY_CHARACTERS || query.includes("\n") || !QUERY.test(query)) return null;
  return { query, span: { start: 0, end: caret } };
}

/** A text with something put in the place of a part of it, and where the caret is then. */
export interface Edit {
  readonly text: string;
  readonly caret: number;
}

/** Puts words into a text, apart from the words before and behind them. */
export function withWords(text: string, { start, end }: Span, words: string): Edit {
  const before = text.slice(0, start);
  const behind = text.slice(end);
  const put = `${/\S$/u.test(before) ? " " : ""}${words}${/^\s/u.test(behind) ? "" : " "}`;
  return { text: before + put + behind, caret: start + put.length };
}

/** Puts a mark into a text: like `withWords`, but it may follow an opening bracket or quotation mark at once. */
export function withMark(text: string, { start, end }: Span, mark: string): Edit {
  const before = text.slice(0, start);
  const behind = text.slice(end);
  const put = `${ADDRESS.test(before) ? " " : ""}${mark}${/^\s/u.test(behind) ? "" : " "}`;
  return { text: before + put + behind, caret: start + put.length };
}

/** Whether a label has the words of a query, whatever their case and accents. */
export function matches(label: string, query: string): boolean {
  return folded(label).includes(folded(query.trim()));
}

function folded(text: string): string {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
