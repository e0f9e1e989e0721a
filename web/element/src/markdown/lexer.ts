import { Lexer, type MarkedOptions, type Token, Tokenizer, type Tokens, type TokensList } from "marked";
import {
  BEGINNING,
  type Definition,
  isMostlyMissing,
  type LexerState,
  type LineSearch,
  type Place,
  type TableSize,
  TooCostly,
} from "./lexer_state.js";

/** The deepest nesting. The signs of a deeper one are shown as text. */
const MAX_DEPTH = 20;
const MAX_WORK_PER_CHARACTER = 50;
/** Each of these signs may begin a search to the end of its paragraph. */
const SEARCHES = /[*_~`![\]<\\&$]| (?= )/g;
/** An underlined heading is shorter than this. */
const MAX_UNDERLINED_CHARACTERS = 300;
/** A longer address in a text is not a link. */
const LONG_ADDRESS = /^\S{2048}/;

/**
 * Marked's lexer for untrusted text. It does not run out of stack, and its cost grows about linearly with the text's
 * length. Markdown that is nested too deep, or would cost too much, stays plain text.
 *
 * What a token may cost depends on the text before it and on itself, never on what comes behind it. So another lexer
 * can go on from the state at a token's beginning.
 */
export class BoundedLexer extends Lexer {
  #depth = 0;
  #containers = 0;
  #blockWork: number;
  #inlineWork: number;
  #length = 0;
  /** The link definitions in their order, so that a place needs no copy of them, but their number alone. */
  readonly #definitions: Definition[];
  /** The label of a definition that was found, and may have become one. */
  #maybeDefined: string | null = null;
  /** Where the last search for a line ended. */
  #lineSearch: LineSearch | null = null;
  #parts: Place[] = [];
  /** The places of the text's own tokens by their offsets. */
  readonly #places = new Map<number, Place>();
  readonly #partsOf = new WeakMap<object, readonly Place[]>();
  /** The inline work that is left before each inline text, and at the end. */
  readonly #inlineWorkAt: number[] = [];
  /** The size of the table that the text begins with. */
  firstTable: TableSize = { lines: 0, characters: 0 };

  /**
   * @param start what was left by the text before; by default nothing is before
   * @param isPartOfTable whether the text begins with a part of a table, whose size the caller looks at
   */
  constructor(
    options: MarkedOptions,
    start = BEGINNING,
    private readonly isPartOfTable = false,
  ) {
    super({ ...options, tokenizer: new BoundedTokenizer() });
    this.#blockWork = start.blockWork;
    this.#inlineWork = start.inlineWork;
    this.#definitions = start.definitions.slice(0, start.defined);
    for (const [tag, link] of this.#definitions) this.tokens.links[tag] = link;
  }

  /** A lexer for a short text that may cost little. */
  static withWork(options: MarkedOptions, work: number, links: TokensList["links"]): BoundedLexer {
    const lexer = new BoundedLexer(options, { ...BEGINNING, blockWork: work, inlineWork: work });
    Object.assign(lexer.tokens.links, links);
    return lexer;
  }

  /** @param source a text without carriage returns */
  override lex(source: string): TokensList {
    this.#length = source.length;
    this.blockTokens(source, this.tokens);
    for (const { src, tokens } of this.inlineQueue) {
      this.#inlineWorkAt.push(this.#inlineWork);
      this.state.inLink = false;
      this.state.inRawBlock = false;
      this.inlineTokens(src, tokens);
    }
    this.#inlineWorkAt.push(this.#inlineWork);
    this.inlineQueue = [];
    return this.tokens;
  }

  /** The state at the beginning of the token that begins at this offset; null where none does. */
  stateAt(offset: number): LexerState | null {
    return this.#places.has(offset) ? this.#stateOf(this.#places.get(offset) as Place) : null;
  }

  /** The states at the beginnings of a top-level list's items, or of a table's rows. */
  statesIn(token: Token): LexerState[] {
    return (this.#partsOf.get(token) ?? []).map((place) => this.#stateOf(place));
  }

  /** The number of link definitions up to the end of the text. */
  get defined(): number {
    this.#noteDefined();
    return this.#definitions.length;
  }

  #stateOf(place: Place): LexerState {
    return {
      definitions: this.#definitions,
      defined: place.defined,
      blockWork: place.blockWork,
      inlineWork: this.#inlineWorkAt[place.queued] ?? this.#inlineWork,
    };
  }

  /** Notes the beginning of a token, if it is no other's part. */
  noteToken(rest: string): void {
    if (this.#depth === 1 && this.#containers === 0) this.#places.set(this.#length - rest.length, this.#place());
  }

  /** Notes that a link definition was found. Marked may yet take it for a paragraph's line. */
  noteDefinition(tag: string): void {
    this.#noteDefined();
    if (!this.tokens.links[tag]) this.#maybeDefined = tag;
  }

  #noteDefined(): void {
    const tag = this.#maybeDefined;
    const link = tag === null ? undefined : this.tokens.links[tag];
    if (tag !== null && link) this.#definitions.push([tag, link]);
    this.#maybeDefined = null;
  }

  /**
   * Searches the rest of a text for a line. Marked asks at each paragraph; no line is looked at twice, because what was
   * found for one paragraph holds for those up to that line.
   */
  lineIn(
    rest: string,
    search: (rest: string) => { readonly end: number; readonly isFound: boolean },
  ): number | undefined {
    if (this.#lineSearch === null || rest.length <= this.#lineSearch.left) {
      const { end, isFound } = search(rest);
      this.#lineSearch = { left: rest.length - end, isFound };
    }
    return this.#lineSearch.isFound ? rest.length - this.#lineSearch.left : undefined;
  }

  /** Whether a table of this size is one. */
  isTable(source: string, head: string, size: TableSize): boolean {
    const isFirst = source.length === this.#length;
    if (isFirst) this.firstTable = size;
    return (isFirst && this.isPartOfTable) || !isMostlyMissing(head, size);
  }

  /** Notes where the rows of a table begin that is no other's part. */
  noteTable(token: Tokens.Table | undefined, queued: number): void {
    if (token === undefined || this.#depth !== 1 || this.#containers > 0) return;
    const place = this.#place();
    const columns = token.header.length;
    this.#partsOf.set(
      token,
      Array.from({ length: token.rows.length + 1 }, (_, row) => ({ ...place, queued: queued + row * columns })),
    );
  }

  #place(): Place {
    return { defined: this.defined, blockWork: this.#blockWork, queued: this.inlineQueue.length };
  }

  override blockTokens(source: string, tokens: Token[] = [], isParagraphClipped = false): TokensList {
    if (this.#depth === 1 && this.#containers === 1) {
      this.#parts.push(this.#place());
      this.#blockWork += MAX_WORK_PER_CHARACTER * source.length;
    }
    if (this.#depth > 0) this.#spend(source.length);
    if (this.#depth < MAX_DEPTH) {
      const list = tokens as TokensList;
      const outerSearch = this.#lineSearch;
      this.#lineSearch = null;
      try {
        return this.#deeper(() => super.blockTokens(source, list, isParagraphClipped) as TokensList);
      } finally {
        this.#lineSearch = outerSearch;
      }
    }
    if (source.trim() !== "") tokens.push({ type: "text", raw: source, text: source, tokens: this.inline(source) });
    return tokens as TokensList;
  }

  override inlineTokens(source: string, tokens: Token[] = []): Token[] {
    // Nested text is part of the outer text, whose work has been counted.
    if (this.#depth === 0) this.#inlineWork += MAX_WORK_PER_CHARACTER * source.length;
    const cost = this.#depth > 0 ? 0 : (source.match(SEARCHES)?.length ?? 0) * source.length;
    if (this.#depth < MAX_DEPTH && cost <= this.#inlineWork) {
      this.#inlineWork -= cost;
      return this.#deeper(() => super.inlineTokens(source, tokens));
    }
    tokens.push({ type: "text", raw: source, text: source, escaped: false });
    return tokens;
  }

  /** A block with others inside; undefined where it costs too much, so that its lines stay text. */
  container<Found extends object>(source: string, find: () => Found | undefined): Found | undefined {
    if (this.#containers > 0) {
      this.#spend(source.length);
      return this.#inContainer(find);
    }
    if (this.#blockWork <= 0) return undefined;
    const depth = this.#depth;
    const queued = this.inlineQueue.length;
    this.#parts = [];
    try {
      const found = this.#inContainer(find);
      if (found !== undefined) this.#partsOf.set(found, this.#parts);
      return found;
    } catch (error) {
      if (!(error instanceof TooCostly)) throw error;
      this.#depth = depth;
      this.inlineQueue.length = queued;
      this.state.top = true;
      return undefined;
    }
  }

  #inContainer<Found>(find: () => Found): Found {
    this.#containers += 1;
    try {
      return find();
    } finally {
      this.#containers -= 1;
    }
  }

  #spend(characters: number): void {
    this.#blockWork -= characters;
    if (this.#blockWork <= 0) throw new TooCostly();
  }

  #deeper<Result>(work: () => Result): Result {
    this.#depth += 1;
    try {
      return work();
    } finally {
      this.#depth -= 1;
    }
  }
}

class BoundedTokenizer extends Tokenizer {
  override blockquote(source: string): Tokens.Blockquote | undefined {
    return this.#bounded.container(source, () => super.blockquote(source));
  }

  override list(source: string): Tokens.List | undefined {
    return this.#bounded.container(source, () => super.list(source));
  }

  override space(source: string): Tokens.Space | undefined {
    this.#bounded.noteToken(source);
    return super.space(source);
  }

  override def(source: string): Tokens.Def | undefined {
    const found = super.def(source);
    if (found) this.#bounded.noteDefinition(found.tag);
    return found;
  }

  /**
   * A table. Marked fills each row up to the cells of its head; text that would mostly become such cells is no table.
   */
  override table(source: string): Tokens.Table | undefined {
    const [whole = "", head = "", , rows = ""] = this.rules.block.table.exec(source) ?? [];
    const size = { lines: rows.split("\n").length, characters: whole.length };
    if (!this.#bounded.isTable(source, head, size)) return undefined;
    const queued = this.lexer.inlineQueue.length;
    const table = super.table(source);
    this.#bounded.noteTable(table, queued);
    return table;
  }

  override lheading(source: string): Tokens.Heading | undefined {
    return super.lheading(source.slice(0, MAX_UNDERLINED_CHARACTERS));
  }

  override url(source: string): Tokens.Link | undefined {
    return LONG_ADDRESS.test(source) ? undefined : super.url(source);
  }

  get #bounded(): BoundedLexer {
    return this.lexer as BoundedLexer;
  }
}
