import { expect, test } from "vitest";
import { blocksOf, htmlOf, MARK } from "../../src/markdown/blocks.js";
import { distinctSources, marksOf } from "../../src/markdown/citations.js";
import type { AnswerPart, Source } from "../../src/server/protocol.js";

const url = (name: string): Source => ({ type: "url", title: name, url: `https://example.org/${name}` });

function part(text: string, ...annotations: (readonly [Source, number | null])[]): AnswerPart {
  return { type: "output_text", text, annotations: annotations.map(([source, index]) => ({ source, index })) };
}

function shown(text: string, ...indices: number[]): string {
  const one = part(text, ...indices.map((index, at) => [url(String(at)), index] as const));
  const blocks = blocksOf(text, marksOf(one, distinctSources([one])));
  return blocks
    .map((block) => htmlOf(block).replace(MARK, "[$1]") + block.behind.map((number) => `[${number}]`))
    .join("");
}

test("a source is listed once and keeps its first number", () => {
  const parts = [part("a b", [url("one"), 1], [url("two"), 3]), part("c", [url("one"), 1], [url("three"), null])];
  const sources = distinctSources(parts);
  expect(sources.map(({ title }) => title)).toEqual(["one", "two", "three"]);
  expect(parts.map((one) => marksOf(one, sources))).toEqual([
    [
      { offset: 1, number: 1 },
      { offset: 3, number: 2 },
    ],
    [{ offset: 1, number: 1 }],
  ]);
});

test("characters are counted as Python counts them, and an index behind the end is the end", () => {
  const text = "😀 yes";
  const one = part(text, [url("one"), 1], [url("two"), 99]);
  expect(marksOf(one, distinctSources([one])).map(({ offset }) => offset)).toEqual([2, 6]);
});

test("a mark stands behind the words it belongs to", () => {
  expect(shown("The blue one.", 8)).toBe("<p>The blue[1] one.</p>\n");
  expect(shown("First.\n\nSecond.", 8, 15)).toBe("<p>First.[1]</p>\n<p>Second.[2]</p>\n");
  expect(shown("- one\n- two", 6)).toBe("<ul>\n<li><p>one[1]</p>\n</li>\n<li><p>two</p>\n</li>\n</ul>\n");
});

test("a mark leaves the emphasis beside it as it is", () => {
  expect(shown("It is **blue.** And", 15)).toBe("<p>It is <strong>blue.</strong>[1] And</p>\n");
  expect(shown("It is _blue_.", 12)).toBe("<p>It is <em>blue</em>[1].</p>\n");
  expect(shown("It is **blue**.", 13)).toContain("<strong>blue</strong>");
});

test("a mark stays in its table cell", () => {
  const rows = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |";
  expect(shown(rows, rows.indexOf("\n| 3"))).toContain("<td>2[1]</td>");
});

test("where no mark can stand it comes behind the block", () => {
  expect(shown("```\ncode\n```", 12)).toBe("<pre><code>code\n</code></pre>\n[1]");
  expect(shown("---", 3)).toBe("<hr>\n[1]");
});

test("a link that is defined elsewhere holds beside a mark", () => {
  const text = "See [it][1].\n\n[1]: https://example.org/";
  expect(shown(text, 12)).toContain('<a href="https://example.org/">it</a>.[1]');
});

test("only the block that a mark is in changes", () => {
  const text = "First.\n\nSecond.";
  const plain = blocksOf(text).map(({ key }) => key);
  const marked = blocksOf(text, [{ offset: 15, number: 1 }]).map(({ key }) => key);
  expect(marked[0]).toBe(plain[0]);
  expect(marked[1]).not.toBe(plain[1]);
});

test("raw HTML is text", () => {
  expect(shown("<b onclick=x>a</b>")).toBe("<p>&lt;b onclick=x&gt;a&lt;/b&gt;</p>\n");
});
