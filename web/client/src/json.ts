const BACKSLASH_OR_HALF = /(\\\\)|\\ud[89a-f][0-9a-f]{2}/g;

/**
 * The value as JSON in which all text is well-formed, because databases refuse text that is not. Text that was cut
 * within an emoji, such as a page's title, gets U+FFFD there, as `String.prototype.toWellFormed` does it.
 */
export function jsonOf(value: unknown): string {
  // JSON.stringify escapes lone surrogates, and nothing else above U+001F (ECMA-262, QuoteJSONString).
  return JSON.stringify(value).replace(BACKSLASH_OR_HALF, (_, backslash?: string) => backslash ?? "\\ufffd");
}
