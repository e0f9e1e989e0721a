import type { Token, Tokens } from "marked";
import { blocksOf } from "./blocks.js";
import { formulaOf } from "./formulas.js";

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: " " };
const LINES = new Set(["blockquote", "list_item"]);

/** The words of a Markdown text, as a screen reader says them: without signs, addresses and tags. */
export function spokenText(text: string): string {
  return blocksOf(text)
    .map(({ token }) => wordsOf(token))
    .filter((words) => words !== "")
    .join("\n");
}

function wordsOf(token: Token): string {
  switch (token.type) {
    case "list":
      return joined((token as Tokens.List).items, "\n");
    case "table": {
      const { header, rows } = token as Tokens.Table;
      return [header, ...rows].map((row) => row.map((cell) => joined(cell.tokens, "")).join(", ")).join("\n");
    }
    case "formula":
    case "formulaBlock":
      return formulaOf(token.text).tex;
    case "br":
      return "\n";
    case "html":
    case "hr":
    case "space":
    case "def":
    case "checkbox":
      return "";
    case "code":
    case "codespan":
      return token.text;
    default:
      return textOf(token as Tokens.Generic);
  }
}

function textOf({ type, tokens, text }: Tokens.Generic): string {
  if (tokens) return joined(tokens, LINES.has(type) ? "\n" : "");
  return String(text).replace(/&(amp|lt|gt|quot|nbsp);/g, (entity, name) => ENTITIES[name] ?? entity);
}

function joined(tokens: readonly Token[], between: string): string {
  const words = tokens.map(wordsOf);
  return (between === "" ? words : words.filter((each) => each !== "")).join(between);
}
