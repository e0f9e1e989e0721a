import { Marked, type Token, type Tokens, type TokensList } from "marked";
import type { Mark } from "./citations.js";
import { formulaExtensions } from "./formulas.js";
import { GrowingLexer, type Lexed } from "./growing.js";
import { BoundedLexer } from "./lexer.js";

/** The signs of a mark in a block's source. Markdown takes them for punctuation, so that emphasis beside them holds. */
const MARK_OPEN = "⸨";
const MARK_CLOSE = "⸩";

/** A mark in a rendered block; in an address it is percent-encoded. */
export const MARK = /(?:⸨|%E2%B8%A8)(\d+)(?:⸩|%E2%B8%A9)/g;

/** The work that reading a block again with its marks may cost, besides the share of each of its characters. */
const MARKED_WORK = 50_000;

/** Headings of an answer are lower by this, because the page has its own headings above them. */
const HEADING_OFFSET = 2;

/** The tags that tables, keys and the like need. All other raw HTML is shown as text. */
const HARMLESS_TAG = /^<\/?(br|kbd|mark|sub|sup|u)\s*\/?>$/i;

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  extensions: formulaExtensions(escaped),
  renderer: {
    code({ text, lang }) {
      const language = lang?.trim() ? ` title="${escaped(lang.trim())}"` : "";
      const lines = text === "" ? "" : `${escaped(text.replace(/\n$/, ""))}\n`;
      return `<pre><code${language}>${lines}</code></pre>\n`;
    },
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + HEADING_OFFSET);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>\n`;
    },
    // Also in a list without blank lines: so its items stay what they are once one comes.
    listitem(item) {
      const isText = ({ type }: Token) => type === "text" && !item.task;
      const tokens = item.tokens.map((token) => (isText(token) ? { ...token, type: "paragraph" } : token));
      return `<li>${this.parser.parse(tokens)}</li>\n`;
    },
    html: ({ text, block }) => {
      if (HARMLESS_TAG.test(text.trim())) return text;
      return block ? `<p>${escaped(text.trim())}</p>` : escaped(text);
    },
  },
});

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** A paragraph, a list or another block. Blocks with the same key look the same. */
export interface Block {
  readonly key: string;
  readonly token: Token;
  /** The numbers of the marks in its source. */
  readonly inside: readonly number[];
  /** The numbers of the marks that its source has no place for, and that come behind it. */
  readonly behind: readonly number[];
}

/** Splits a text into its blocks, with the marks where they belong. */
export function blocksOf(text: string, marks: readonly Mark[] = []): readonly Block[] {
  return new GrowingBlocks().update(text, marks);
}

/** The blocks of a text that grows. What has not changed is the same block. */
export class GrowingBlocks {
  readonly #lexer = new GrowingLexer(marked.defaults);
  /** A block for each token, or null for one that is not drawn, and its marks. */
  #made: { readonly block: Block | null; readonly marks: string }[] = [];

  update(text: string, marks: readonly Mark[] = []): readonly Block[] {
    const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    const lexed = this.#lexer.lex(source);
    const places = marks
      .map(({ offset, number }) => ({
        number,
        offset: source === text ? offset : source.length - unixLength(text.slice(offset)),
      }))
      .sort((one, other) => one.offset - other.offset);
    let start = 0;
    let place = 0;
    this.#made = lexed.tokens.map((token, index) => {
      const end = start + token.raw.length;
      const first = place;
      while ((places[place]?.offset ?? Number.POSITIVE_INFINITY) <= end) place += 1;
      const own = places.slice(first, place).map(({ offset, number }) => ({ number, offset: offset - start }));
      start = end;
      const key = own.map(({ offset, number }) => `${offset}:${number}`).join();
      const before = index < lexed.kept ? this.#made[index] : undefined;
      if (before?.marks === key) return before;
      const isDrawn = token.type !== "space" && token.type !== "def";
      return { block: isDrawn ? blockOf(token, own, lexed) : null, marks: key };
    });
    return this.#made.flatMap(({ block }) => block ?? []);
  }
}

/** The items of a list, or the rows of a table; of another block none. Those that have not changed are the same. */
export function partsOf({ token }: Block): readonly object[] {
  if (token.type === "list") return (token as Tokens.List).items;
  return token.type === "table" ? (token as Tokens.Table).rows : [];
}

/** The number of leading items or rows that a block shares with what it was; 0 where it has to be drawn whole. */
export function closedParts(old: Block, block: Block): number {
  const marks = [old, block].flatMap(({ inside, behind }) => [...inside, ...behind]);
  if (old.token.type !== block.token.type || marks.length > 0) return 0;
  const [before, parts] = [partsOf(old), partsOf(block)];
  let closed = 0;
  while (closed < parts.length && before[closed] === parts[closed]) closed += 1;
  return closed;
}

/** The HTML of a block, not yet sanitised. */
export function htmlOf({ token }: Block): string {
  return marked.parser([token]);
}

/** The HTML of a list or a table from this item or row on. */
export function htmlFrom({ token }: Block, from: number): string {
  if (token.type === "list") return marked.parser([{ ...token, items: (token as Tokens.List).items.slice(from) }]);
  return marked.parser([{ ...token, rows: (token as Tokens.Table).rows.slice(from) }]);
}

function unixLength(text: string): number {
  return text.replace(/\r\n?/g, "\n").length;
}

/** The block with its marks in its source, or with all of them behind it where they would change its structure. */
function blockOf(token: Token, marks: readonly Mark[], definitions: Lexed): Block {
  const numbers = marks.map(({ number }) => number);
  const key = `${definitions.digest}\n${token.raw}`;
  if (!marks.length) return { key, token, inside: [], behind: [] };
  const raw = withMarks(token, marks);
  const [again, ...others] = lexed(raw, definitions.links);
  if (again && !others.length && token.type !== "code" && shapeOf(again) === shapeOf(token)) {
    return { key: `${definitions.digest}\n${raw}`, token: again, inside: numbers, behind: [] };
  }
  return { key: `${key}\n${MARK_OPEN}${numbers}`, token, inside: [], behind: numbers };
}

function lexed(raw: string, links: TokensList["links"]): Token[] {
  const lexer = BoundedLexer.withWork(marked.defaults, MARKED_WORK, links);
  return lexer.lex(raw).filter((token) => token.type !== "space" && token.type !== "def");
}

function withMarks(token: Token, marks: readonly Mark[]): string {
  let raw = token.raw;
  for (const { offset, number } of [...marks].reverse()) {
    const place = token.type === "table" ? beforeBar(raw, offset) : offset;
    raw = `${raw.slice(0, place)}${MARK_OPEN}${number}${MARK_CLOSE}${raw.slice(place)}`;
  }
  return raw;
}

/** The offset, moved before a table row's last bar, because no cell follows that bar. */
function beforeBar(raw: string, offset: number): number {
  const line = raw.slice(0, offset);
  return line.endsWith("|") ? line.replace(/\s*\|$/, "").length : offset;
}

function shapeOf(token: Token): string {
  const types: string[] = [];
  marked.walkTokens([token], ({ type }) => {
    if (type !== "text" && type !== "escape") types.push(type);
  });
  return types.join();
}
