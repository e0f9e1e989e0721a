import { expect, test } from "vitest";
import { blocksOf, htmlOf } from "../../src/markdown/blocks.js";

const LENGTH = 100_000;

const filled = (part: string, length = LENGTH): string => part.repeat(Math.ceil(length / part.length)).slice(0, length);
const nested = (open: string, close: string): string => {
  const times = Math.floor(LENGTH / (open.length + close.length));
  return `${open.repeat(times)}x${close.repeat(times)}`;
};
const numbered = (count: number, line: (number: number) => string): string =>
  Array.from({ length: count }, (_, number) => line(number)).join("\n");

/** Texts that overflow the stack of Marked's own lexer, or take it minutes. */
const BLOW_UPS: Readonly<Record<string, string>> = {
  quotes: `${filled("> ")}x`,
  "3,000 quotes": `${"> ".repeat(3_000)}x`,
  "quotes without spaces": `${filled(">")}x`,
  "numbered lists": `${filled("1. ")}x`,
  "10,000 numbered lists": `${"1. ".repeat(10_000)}x`,
  lists: `${filled("- ")}x`,
  "starred lists": `${filled("* ")}x`,
  "lists in quotes": `${filled("> 1. - ")}x`,
  "lists by indentation": numbered(300, (number) => `${"  ".repeat(number)}- a`),
  "quotes that shrink": numbered(300, (number) => `${"> ".repeat(300 - number)}a\nb`),
  "quotes that grow": numbered(300, (number) => `${"> ".repeat(number)}a`),
  "quoted lists that go on": filled("> - a\nb\n"),
  "a list item that goes on": `- a\n${filled("b\n")}`,
  "a quote that goes on": `> a\n${filled("b\n")}`,
  brackets: filled("["),
  "nested brackets": nested("[", "]"),
  "nested links": nested("[", "](a)"),
  "nested images": nested("![", "](a)"),
  "links that are open": filled("[a](b"),
  "links that are open, and one that is not": `${filled("[a](b")})`,
  "emphasis that is open": filled("*a "),
  "emphasis of two kinds": filled("*a_"),
  "emphasis that opens strong": filled("**a *a* "),
  "emphasis at the end of words": filled("a*"),
  "nested emphasis": nested("*a ", " a*"),
  "nested strong": nested("**a ", " a**"),
  "nested strong emphasis": nested("***a ", " a***"),
  "nested deletions": nested("~~a ", " a~~"),
  "open deletions": filled("~a"),
  backticks: numbered(400, (number) => `${"`".repeat(number)} `).replaceAll("\n", ""),
  tags: filled("<a "),
  comments: filled("<!--"),
  escapes: filled("\\"),
  "marks of all kinds": filled("[*](_`<!~"),
  spaces: `a${filled(" ")}b`,
  "an address with much behind it": `http://a.b/${filled("?!.")}`,
  "an address of dots": `http://a.b/${filled("?.")}`,
  "an address of brackets": `http://a.b/${filled("(a)")}`,
  "an address of entities": `http://a.b/${filled("&a;")}`,
  "mail addresses": filled("a@"),
  "a table of missing cells": `${filled("|a", 1_000)}|\n${filled("|-", 1_000)}|\n${filled("a\n")}`,
  "definitions in front of paragraphs": `${numbered(5_000, (n) => `[a${n}]: b`)}\n\n${filled("x\n\n", 50_000)}`,
  "a definition that is open": `[a]: b "${filled("a\n")}`,
};

for (const [name, text] of Object.entries(BLOW_UPS)) {
  test(`${name}: drawn flat or as text, and in the end`, { timeout: 60_000 }, () => {
    const html = blocksOf(text).map(htmlOf);
    // The HTML of a table of missing cells would be forty times as long.
    expect(html.join("").length).toBeLessThan(12 * text.length);
    expect(depthOf(html.join(""))).toBeLessThan(100);
  });
}

/** The depth of the nesting of elements. */
function depthOf(html: string): number {
  let depth = 0;
  let deepest = 0;
  for (const [tag, slash] of html.matchAll(/<(\/?)[a-z][^>]*>/g)) {
    if (/^<(br|hr|input|img)/.test(tag)) continue;
    depth += slash ? -1 : 1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

test("what nests as deep as people nest it is drawn as it was", () => {
  const html = blocksOf(`${"> ".repeat(12)}*a **b** [c](https://example.org)*`)
    .map(htmlOf)
    .join("");
  expect(html.match(/<blockquote>/g)).toHaveLength(12);
  expect(html).toContain('<em>a <strong>b</strong> <a href="https://example.org">c</a></em>');
});

test("beyond the bound the signs are shown, and the words with them", () => {
  const html = blocksOf(`${"> ".repeat(30)}word`)
    .map(htmlOf)
    .join("");
  expect(html.match(/<blockquote>/g)?.length).toBeLessThan(30);
  expect(html).toContain("&gt; word");
});

test("a paragraph that would cost too much is text, and the one behind it is drawn", () => {
  const html = blocksOf(`${filled("*a_", 30_000)}\n\n**b**`).map(htmlOf);
  expect(html[0]).toContain("*a_*a_");
  expect(html[1]).toBe("<p><strong>b</strong></p>\n");
});

test("a list that would cost too much is text, and what is behind it is drawn", () => {
  const html = blocksOf(`${filled("> - a\nb\n")}\n\n**b**`)
    .map(htmlOf)
    .join("");
  expect(html).toContain("<strong>b</strong>");
});

test("a long answer of the usual kind is drawn whole", () => {
  const section =
    "## A title\n\nSome *words* with `code`, a [link](https://a.example) and **more**.\n\n- one\n  - two\n\n";
  const html = blocksOf(section.repeat(1_000)).map(htmlOf).join("");
  expect(html.match(/<em>/g)).toHaveLength(1_000);
  expect(html.match(/<a /g)).toHaveLength(1_000);
});
