const BACKSLASH_OR_HALF = /(\\\\)|\\ud[89a-f][0-9a-f]{2}/g;

/**
 * A value as JSON in which no text holds half a character: what was cut within an emoji, a page's title for instance,
 * has U+FFFD there, as `String.prototype.toWellFormed` would put it. Databases refuse text that is not well-formed.
 */
export function jsonOf(value: unknown): string {
  // Lone halves, and nothing else above U+001F, are escapes in what comes out (ECMA-262, QuoteJSONString).
  return JSON.stringify(value).replace(BACKSLASH_OR_HALF, (_, backslash?: string) => backslash ?? "\\ufffd");
}
