import { Lexer, type MarkedOptions, type Token, Tokenizer, type Tokens, type TokensList } from "marked";

/** The deepest nesting. The signs of a deeper one are shown as text. */
const MAX_DEPTH = 20;
/** The work that one text may cost, in characters read, besides the share of each of its characters. */
const MAX_WORK = 1_000_000;
const MAX_WORK_PER_CHARACTER = 50;
/** Each of these signs may begin a search to the end of its paragraph. */
const SEARCHES = /[*_~`![\]<\\&]| (?= )/g;
/** An underlined heading is shorter than this. */
const MAX_UNDERLINED_CHARACTERS = 300;
/** A longer address in a text is not a link. */
const LONG_ADDRESS = /^\S{2048}/;

/** The text has used up the work that it may cost. */
class TooCostly extends Error {}

/**
 * Marked's lexer for untrusted text. It does not run out of stack, and its cost grows about linearly with the text's
 * length. Markdown that is nested too deep, or would cost too much, stays plain text.
 */
export class BoundedLexer extends Lexer {
  #depth = 0;
  #isInContainer = false;
  #blockWork = 0;
  #inlineWork = 0;

  /** @param maxWork the allowed work, besides the share of each character of the text */
  constructor(
    options: MarkedOptions,
    private readonly maxWork = MAX_WORK,
  ) {
    super({ ...options, tokenizer: new BoundedTokenizer() });
  }

  override lex(source: string): TokensList {
    this.#blockWork = this.#inlineWork = this.maxWork + MAX_WORK_PER_CHARACTER * source.length;
    return super.lex(source);
  }

  override blockTokens(source: string, tokens: Token[] = [], isParagraphClipped = false): TokensList {
    if (this.#depth > 0) this.#spend(source.length);
    if (this.#depth < MAX_DEPTH) {
      const list = tokens as TokensList;
      return this.#deeper(() => super.blockTokens(source, list, isParagraphClipped) as TokensList);
    }
    if (source.trim() !== "") tokens.push({ type: "text", raw: source, text: source, tokens: this.inline(source) });
    return tokens as TokensList;
  }

  override inlineTokens(source: string, tokens: Token[] = []): Token[] {
    // Nested text is part of the outer text, whose work has been counted.
    const cost = this.#depth > 0 ? 0 : (source.match(SEARCHES)?.length ?? 0) * source.length;
    if (this.#depth < MAX_DEPTH && cost <= this.#inlineWork) {
      this.#inlineWork -= cost;
      return this.#deeper(() => super.inlineTokens(source, tokens));
    }
    tokens.push({ type: "text", raw: source, text: source, escaped: false });
    return tokens;
  }

  /** A block with others inside; undefined where it costs too much, so that its lines stay text. */
  container<Found>(source: string, find: () => Found | undefined): Found | undefined {
    if (this.#isInContainer) {
      this.#spend(source.length);
      return find();
    }
    if (this.#blockWork <= 0) return undefined;
    const depth = this.#depth;
    const queued = this.inlineQueue.length;
    this.#isInContainer = true;
    try {
      return find();
    } catch (error) {
      if (!(error instanceof TooCostly)) throw error;
      this.#depth = depth;
      this.inlineQueue.length = queued;
      this.state.top = true;
      return undefined;
    } finally {
      this.#isInContainer = false;
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

  /**
   * A table. Marked fills each row up to the cells of its head; text that would mostly become such cells is no table.
   */
  override table(source: string): Tokens.Table | undefined {
    const [whole = "", head = "", , rows = ""] = this.rules.block.table.exec(source) ?? [];
    const cells = head.split("|").length * (rows.split("\n").length + 1);
    return cells > 2 * whole.length ? undefined : super.table(source);
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
