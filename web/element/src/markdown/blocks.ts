import { Marked, type Token, type TokensList } from "marked";
import type { Mark } from "./citations.js";
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

/** The tags that tables and formulas need. All other raw HTML is shown as text. */
const HARMLESS_TAG = /^<\/?(br|sub|sup)\s*\/?>$/i;

const marked = new Marked({ gfm: true, breaks: true });
marked.use({
  renderer: {
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
export function blocksOf(text: string, marks: readonly Mark[] = []): Block[] {
  const source = text.replace(/\r\n?/g, "\n");
  const tokens = new BoundedLexer(marked.defaults).lex(source);
  const definitions = { links: tokens.links, digest: digestOf(tokens) };
  const places = marks.map(({ offset, number }) => ({
    number,
    offset: source === text ? offset : source.length - unixLength(text.slice(offset)),
  }));
  const blocks: Block[] = [];
  let start = 0;
  for (const token of tokens) {
    const end = start + token.raw.length;
    const own = places.filter(({ offset }) => offset <= end && (offset > start || start === 0));
    if (token.type !== "space" && token.type !== "def") {
      const here = own.map(({ offset, number }) => ({ number, offset: offset - start }));
      blocks.push(blockOf(token, here, definitions));
    }
    start = end;
  }
  return blocks;
}

/** The HTML of a block, not yet sanitised. */
export function htmlOf({ token }: Block): string {
  marked.walkTokens([token], (inner) => {
    if (inner.type === "heading") inner.depth = Math.min(6, inner.depth + HEADING_OFFSET);
  });
  return marked.parser([token]);
}

/** The link definitions of a text, which hold for all of its blocks. */
interface Definitions {
  readonly links: TokensList["links"];
  /** Another string after each change of the definitions. */
  readonly digest: string;
}

/** A digest of the definitions. It is short because each block's key contains it. */
function digestOf(tokens: TokensList): string {
  let digest = 0;
  for (const token of tokens) {
    if (token.type !== "def") continue;
    for (let at = 0; at < token.raw.length; at += 1) digest = (Math.imul(digest, 31) + token.raw.charCodeAt(at)) | 0;
  }
  return String(digest);
}

function unixLength(text: string): number {
  return text.replace(/\r\n?/g, "\n").length;
}

/** The block with its marks in its source, or with all of them behind it where they would change its structure. */
function blockOf(token: Token, marks: readonly Mark[], definitions: Definitions): Block {
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
  const lexer = new BoundedLexer(marked.defaults, MARKED_WORK);
  lexer.tokens.links = links;
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
