import type { MarkedOptions, Token, Tokens, TokensList } from "marked";
import { BoundedLexer } from "./lexer.js";
import { BEGINNING, isMostlyMissing, type LexerState } from "./lexer_state.js";

/** A list or table with fewer parts is read whole. */
const MIN_PARTS = 8;
/** The last parts of a list or table, which are read again, because what comes next may still change them. */
const OPEN_PARTS = 2;
/** The beginning of a paragraph that may become a link definition with more text. Its title may hold blank lines. */
const MAYBE_DEFINITION = /^ {0,3}\[(?!(?:[^\]\\\n]|\\.)*\](?!:))/;

/** A line that begins a formula. */
const FORMULA_LINE = /^ {0,3}(?:\$\$|\\\[)/m;

/** The tokens of a text. */
export interface Lexed {
  readonly tokens: readonly Token[];
  /** So many of them, from the first on, are the very objects of the text before. */
  readonly kept: number;
  readonly links: TokensList["links"];
  /** Another string after each change of the definitions. It is short because each block's key contains it. */
  readonly digest: string;
}

/** What was read of a text from the last settled token on. */
interface Run {
  readonly lexer: BoundedLexer;
  readonly tokens: readonly Token[];
  readonly links: TokensList["links"];
  /** The states at the parts of the first token, where that is a list or a table. */
  readonly states: readonly LexerState[];
  /** Where the lexer's source begins in the run's. */
  readonly offset: number;
}

/**
 * Reads a text that grows, and goes on from its last settled token. A token is settled where nothing that may come
 * behind the text can change it or those before it. The tokens are always those of the whole text.
 */
export class GrowingLexer {
  #source = "";
  #settled: Token[] = [];
  #offset = 0;
  #state: LexerState | undefined;
  #digest = "";
  #run: Run | null = null;

  constructor(private readonly options: MarkedOptions) {}

  /** @param source a text without carriage returns */
  lex(source: string): Lexed {
    const isGrown = this.#run !== null && source.startsWith(this.#source);
    if (isGrown) {
      const before = this.#settled.length;
      const run = this.#grownParts(source.slice(this.#offset)) ?? this.#read(source.slice(this.#offset));
      // A definition holds for the whole text, that before it included.
      if (digestOf(run.links) === this.#digest) return this.#accept(source, run, before);
    }
    this.#settled = [];
    this.#offset = 0;
    this.#state = undefined;
    const run = this.#read(source);
    this.#digest = digestOf(run.links);
    return this.#accept(source, run, 0);
  }

  #accept(source: string, run: Run, kept: number): Lexed {
    const tokens = [...this.#settled, ...run.tokens];
    this.#source = source;
    this.#run = run;
    this.#settle(source);
    return { tokens, kept, links: run.links, digest: this.#digest };
  }

  #read(source: string): Run {
    const lexer = new BoundedLexer(this.options, this.#state);
    const tokens = lexer.lex(source);
    const states = tokens[0] ? lexer.statesIn(tokens[0]) : [];
    return { lexer, tokens: [...tokens], links: tokens.links, states, offset: 0 };
  }

  /** Moves the settled place on to the last token whose beginning, and all before it, cannot change any more. */
  #settle(source: string): void {
    const run = this.#run as Run;
    let start = this.#offset;
    let found: { index: number; offset: number; state: LexerState } | null = null;
    let isInFormula = false;
    for (const [index, token] of run.tokens.entries()) {
      const before = run.tokens[index - 1];
      // A formula that is open may take in all up to the next blank line.
      if (before?.type === "space") isInFormula = false;
      if (before && !isInFormula && isBeginning(source, start, token, before)) {
        const state = run.lexer.stateAt(start - this.#offset - run.offset);
        if (state !== null) found = { index, offset: start, state };
      }
      if (mayBecomeDefinition(token, before)) break;
      isInFormula ||= token.type !== "formulaBlock" && FORMULA_LINE.test(token.raw);
      start += token.raw.length;
    }
    if (found === null) return;
    const { index, offset, state } = found;
    const tokens = run.tokens.slice(index);
    const states = tokens[0] ? run.lexer.statesIn(tokens[0]) : [];
    this.#settled = this.#settled.concat(run.tokens.slice(0, index));
    this.#run = { ...run, tokens, states, offset: run.offset - (offset - this.#offset) };
    this.#offset = offset;
    this.#state = state;
  }

  /** Reads the last parts of a list or table alone, where it was the last token; null where that is not enough. */
  #grownParts(source: string): Run | null {
    const {
      tokens: [first, ...others],
      states,
      lexer,
    } = this.#run as Run;
    const isLast = others.every(({ type }) => type === "space");
    if (!first || !isLast || lexer.defined !== (this.#state?.defined ?? 0)) return null;
    if (first.type === "list") return this.#grownList(source, first as Tokens.List, states);
    if (first.type === "table") return this.#grownTable(source, first as Tokens.Table, states);
    return null;
  }

  #grownList(source: string, list: Tokens.List, states: readonly LexerState[]): Run | null {
    const count = list.items.length - OPEN_PARTS;
    const state = states[count];
    if (count < MIN_PARTS || states.length !== list.items.length || !state) return null;
    const closed = list.items.slice(0, count);
    const offset = closed.reduce((length, { raw }) => length + raw.length, 0);
    const lexer = new BoundedLexer(this.options, state);
    const lexed = lexer.lex(source.slice(offset));
    const [rest, ...others] = lexed;
    if (rest?.type !== "list" || rest.ordered !== list.ordered || rest.loose !== list.loose) return null;
    const grown = {
      ...list,
      raw: source.slice(0, offset) + rest.raw,
      items: [...closed, ...(rest as Tokens.List).items],
    };
    return {
      lexer,
      tokens: [grown, ...others],
      links: lexed.links,
      states: [...states.slice(0, count), ...lexer.statesIn(rest)],
      offset,
    };
  }

  #grownTable(source: string, table: Tokens.Table, states: readonly LexerState[]): Run | null {
    const count = table.rows.length - OPEN_PARTS;
    const [first, state] = [states[0], states[count]];
    if (count < MIN_PARTS || !first || !state) return null;
    const lines = table.raw.replace(/\n+$/, "").split("\n");
    const [head = "", rule = ""] = lines;
    const begin = `${head}\n${rule}\n`;
    const offset = begin.length + lines.slice(2, 2 + count).join("\n").length + 1;
    const workOfHead = (this.#state ?? BEGINNING).inlineWork - first.inlineWork;
    const lexer = new BoundedLexer(this.options, { ...state, inlineWork: state.inlineWork + workOfHead }, true);
    const lexed = lexer.lex(begin + source.slice(offset));
    const [rest, ...others] = lexed;
    const { lines: restLines, characters } = lexer.firstTable;
    const size = { lines: count + restLines, characters: offset - begin.length + characters };
    if (rest?.type !== "table" || isMostlyMissing(head, size)) return null;
    const grown = {
      ...table,
      raw: source.slice(0, offset) + rest.raw.slice(begin.length),
      rows: [...table.rows.slice(0, count), ...(rest as Tokens.Table).rows],
    };
    return {
      lexer,
      tokens: [grown, ...others],
      links: lexed.links,
      states: [...states.slice(0, count), ...lexer.statesIn(rest)],
      offset: offset - begin.length,
    };
  }
}

/**
 * Whether what comes next cannot change that a token begins here: a blank line, or what ends any paragraph, is before
 * the token, and enough of the token is there to tell its kind.
 */
function isBeginning(source: string, start: number, token: Token, before: Token): boolean {
  const firstLine = source.indexOf("\n", start);
  if (firstLine === -1) return false;
  if (before.type === "space") return before.raw.length > 1;
  if (before.type === "def") return false;
  if (token.type === "table") return source.indexOf("\n", firstLine + 1) !== -1;
  const isFence = token.type === "code" && token.codeBlockStyle !== "indented";
  return isFence || token.type === "heading" || token.type === "list";
}

/** Whether text that comes later, behind blank lines even, may make a link definition with a title of what is here. */
function mayBecomeDefinition(token: Token, before: Token | undefined): boolean {
  if (before?.type === "def") return /^[ \t]*["'(]/.test(token.raw);
  return token.type !== "def" && MAYBE_DEFINITION.test(token.raw);
}

function digestOf(links: TokensList["links"]): string {
  let digest = 0;
  for (const part of Object.entries(links).flatMap(([tag, { href, title }]) => [tag, href, title ?? ""])) {
    for (let at = 0; at < part.length; at += 1) digest = (Math.imul(digest, 31) + part.charCodeAt(at)) | 0;
    digest = Math.imul(digest, 31) | 0;
  }
  return digest === 0 ? "" : String(digest);
}
