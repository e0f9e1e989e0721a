import type { TokensList } from "marked";

/** The work that one text may cost, in characters read, besides the share of each character that was read before. */
const MAX_WORK = 1_000_000;

/** The text has used up the work that it may cost. */
export class TooCostly extends Error {}

/** What a lexer needs to go on at a place of a text as if it had read the text from its beginning. */
export interface LexerState {
  /** The link definitions so far are the first ones of these. */
  readonly definitions: readonly Definition[];
  readonly defined: number;
  readonly blockWork: number;
  readonly inlineWork: number;
}

export type Definition = readonly [tag: string, link: TokensList["links"][string]];

/** The state at the beginning of a text. */
export const BEGINNING: LexerState = {
  definitions: [],
  defined: 0,
  blockWork: MAX_WORK,
  inlineWork: MAX_WORK,
};

/** What the rows of a table, and the whole of it, are made of. */
export interface TableSize {
  readonly lines: number;
  readonly characters: number;
}

/** The place of a token, a list's item or a table's row. */
export interface Place {
  /** The number of link definitions before it. */
  readonly defined: number;
  readonly blockWork: number;
  /** The number of inline texts before it. */
  readonly queued: number;
}

/** The end of a search for a line. */
export interface LineSearch {
  /** The number of characters from there to the end of the text that is read. */
  readonly left: number;
  readonly isFound: boolean;
}

/** Whether a table with this head would have many more cells than characters. */
export function isMostlyMissing(head: string, { lines, characters }: TableSize): boolean {
  return head.split("|").length * (lines + 1) > 2 * characters;
}
