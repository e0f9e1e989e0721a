import type { TokenizerAndRendererExtension } from "marked";
import { BoundedLexer } from "./lexer.js";

/** A longer formula is shown as it is written. */
const MAX_FORMULA = 4_000;

/** `\(…\)`, `\[…\]` and `$$…$$` in a line. */
const BRACKETED = /^(?:\\\((?:[^\\]|\\(?!\)))+?\\\)|\\\[(?:[^\\]|\\(?!\]))+?\\\]|\$\$(?:[^$\\]|\\[\s\S])+?\$\$)/;
/**
 * `$…$`. No space follows the first sign, none is before the last, and neither a letter nor a digit follows that: so
 * "$5 and $6" are prices.
 */
const DOLLARS = /^\$(?![\s$])(?:[^$\\\n]|\\[^\n])*?(?:[^\s$\\]|\\[^\n])\$(?![\p{L}\p{N}$])/u;
/** `$$…$$` and `\[…\]` that begin and end a line. No blank line is inside. */
const OWN_LINES =
  /^ {0,3}(?:\$\$(?:[^$\\\n]|\\[^\n]|\n(?![ \t]*(?:\n|$)))+?\$\$|\\\[(?:[^\\\n]|\\(?!\])[^\n]|\\?\n(?![ \t]*(?:\n|$)))+?\\\])[ \t]*(?:\n|$)/;
const BEGINS_LINE = /^ {0,3}(?:\$\$|\\\[)/;

/** A formula: its TeX, and whether it has lines of its own. */
export interface Formula {
  readonly tex: string;
  readonly isBlock: boolean;
}

/** Reads a formula with its signs. */
export function formulaOf(source: string): Formula {
  const text = source.trim();
  const isBlock = text.startsWith("$$") || text.startsWith("\\[");
  const signs = text.startsWith("$") && !isBlock ? 1 : 2;
  return { tex: text.slice(signs, -signs).trim(), isBlock };
}

/**
 * Formulas as tokens of Marked. They become `var` elements with the source in them.
 *
 * @param escaped the text as HTML
 */
export function formulaExtensions(escaped: (text: string) => string): TokenizerAndRendererExtension[] {
  return [
    {
      name: "formula",
      level: "inline",
      start: (source) => source.indexOf("$"),
      tokenizer(source) {
        const sign = source.charCodeAt(0);
        if (sign !== 36 && sign !== 92) return undefined;
        const near = source.slice(0, MAX_FORMULA);
        const raw = (BRACKETED.exec(near) ?? DOLLARS.exec(near))?.[0];
        return raw === undefined ? undefined : { type: "formula", raw, text: raw };
      },
      renderer: ({ text }) => `<var>${escaped(text)}</var>`,
    },
    {
      name: "formulaBlock",
      level: "block",
      start(source) {
        if (this.lexer instanceof BoundedLexer) return this.lexer.lineIn(source, lineWithFormula);
        const { end, isFound } = lineWithFormula(source);
        return isFound ? end : undefined;
      },
      tokenizer(source) {
        if (!BEGINS_LINE.test(source)) return undefined;
        const raw = OWN_LINES.exec(source.slice(0, MAX_FORMULA))?.[0];
        if (raw === undefined) return undefined;
        if (this.lexer instanceof BoundedLexer) this.lexer.noteToken(source);
        return { type: "formulaBlock", raw, text: raw.trim() };
      },
      renderer: ({ text }) => `<p><var>${escaped(text)}</var></p>\n`,
    },
  ];
}

/** The place of the next line that begins a formula, or that is blank, or the text's end. */
function lineWithFormula(source: string): { end: number; isFound: boolean } {
  let line = source.indexOf("\n") + 1;
  while (line > 0 && line < source.length) {
    const next = source.indexOf("\n", line);
    const text = source.slice(line, next === -1 ? undefined : next);
    if (text.trim() === "") return { end: line, isFound: false };
    if (BEGINS_LINE.test(text) && OWN_LINES.test(source.slice(line, line + MAX_FORMULA))) {
      return { end: line, isFound: true };
    }
    line = next + 1;
  }
  return { end: source.length, isFound: false };
}
