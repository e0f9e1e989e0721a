import fc from "fast-check";
import { expect, test } from "vitest";
import { type Block, blocksOf, closedParts, GrowingBlocks, htmlOf, partsOf } from "../../src/markdown/blocks.js";
import type { Mark } from "../../src/markdown/citations.js";

/** Pieces of Markdown; what they come to depends on what is before and behind them. */
const PIECES = [
  "a",
  "word and another",
  " ",
  "  ",
  "    ",
  "\t",
  "\n",
  "\n",
  "\n\n",
  "\r\n",
  "# title",
  "- item\n",
  "- item\n\n",
  "- [ ] task\n",
  "* other",
  "1. first\n",
  "2) second\n",
  "  - nested\n",
  "> quote\n",
  ">",
  "```js\n",
  "```",
  "~~~\n",
  "`code`",
  "`",
  "| a | b |\n",
  "|---|:-:|\n",
  "| 1 | 2 |\n",
  "|",
  "---",
  "===\n",
  "[label]",
  "[label]: /there",
  "[1]: /one",
  "[1]",
  ': "',
  '"',
  "'title'",
  "(",
  ")",
  "<b>",
  "<a href=x>",
  "</a>",
  "<!--",
  "-->",
  "<div>\n",
  "<script>",
  "**",
  "*",
  "_",
  "~~",
  "\\",
  "https://example.org/a",
  "![i](/i.png)",
  "$",
  "$$\n",
  "$5",
  "\\(",
  "\\[\n",
  "\\]",
  "😀",
];

/** Many parts, which are read one by one. */
const LONG = [
  ...["- item\n", "1. item\n", "* **item** `x`\n", "- [x] task\n", "- a\n\n"].map((item) => item.repeat(12)),
  `| a | b |\n|---|--:|\n${"| 1 | *2* |\n".repeat(12)}`,
  `| a |\n|---|\n${"| \\| x | y | z |\n".repeat(12)}`,
];

const markdown = fc
  .array(
    fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...PIECES) }, { weight: 1, arbitrary: fc.constantFrom(...LONG) }),
    {
      maxLength: 40,
    },
  )
  .map((pieces) => pieces.join(""));
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 25 });

const look = (blocks: readonly Block[]) =>
  blocks.map((block) => ({ ...block, token: null, html: htmlOf(block), parts: partsOf(block).length }));

function expectSameAsWhole(text: string, places: readonly number[], marks: readonly Mark[] = []): void {
  const growing = new GrowingBlocks();
  for (const length of [...places.map((place) => Math.floor(place * text.length)).sort((a, b) => a - b), text.length]) {
    const shown = text.slice(0, length);
    const placed = marks.filter(({ offset }) => offset <= length);
    expect(look(growing.update(shown, placed)), JSON.stringify(shown)).toEqual(look(blocksOf(shown, placed)));
  }
}

const RUNS = { numRuns: 500 };

test("a text that grows has the blocks of the whole text, wherever it is cut", { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(markdown, cuts, (text, places) => expectSameAsWhole(text, places)),
    RUNS,
  );
});

test("the same with marks in it", { timeout: 300_000 }, () => {
  const marks = fc
    .array(fc.nat(300), { maxLength: 3 })
    .map((offsets) => offsets.sort((a, b) => a - b).map((offset, index) => ({ offset, number: index + 1 })));
  fc.assert(
    fc.property(markdown, cuts, marks, (text, places, placed) =>
      expectSameAsWhole(
        text,
        places,
        placed.filter(({ offset }) => offset <= text.length),
      ),
    ),
    { numRuns: 300 },
  );
});

test("each cut of a text with everything in it", { timeout: 300_000 }, () => {
  const text = `Intro:\n- one\n- two\n\n${LONG.join("\n\n")}\n# T\npara\n\`\`\`py\nx\n\n\`\`\`\n[a]: /b "t\n\nu"\n\n[a] \n> q\nlazy\n`;
  expectSameAsWhole(
    text,
    Array.from({ length: text.length }, (_, at) => at / text.length),
  );
});

/** What is written last changes what was written long before it. */
const LATE: Readonly<Record<string, string>> = {
  "a title that goes over blank lines": '[a]: /b "title\n\nmore\nwords\n\n# and\nmore\n"\n\n[a]',
  "a title on a line of its own": '[a]: /b\n"title\n\nmore\n\n# and\nmore\n"\n\n[a]',
  "a definition at the end": "[a]\n\nb\n\nc\n\n[a]: /there",
  "a definition in a list": "[a]\n\nb\n\n- c\n\n  [a]: /there",
  "a list that goes on behind a blank line": "1. a\n\n2. b\n\n3. c\n\n- d\n\n-e\n",
  "a line that becomes a heading": "a\n\nb\n=",
  "a line that becomes a table": "a\n| b | c |\n|--|--|\n| 1 | 2 |\n|--x",
  "a fence that was not its end": "```\na\n```\n\nb\n```\n\nc\n```b\n\nd\n```\ne",
  "a comment": "a\n\n<!-- b\n\nc\n\nd -->\n\ne",
  "a list that gets loose": `${"- a\n".repeat(12)}\n- b\n`,
  "a formula": "a\n$$\nb\n- c\n$$\nd\n\\[\ne\n\\]",
};

for (const [name, text] of Object.entries(LATE)) {
  test(`${name}, wherever it is cut`, () => {
    const every = Array.from({ length: text.length }, (_, at) => at / text.length);
    expectSameAsWhole(text, every);
    for (const place of every) expectSameAsWhole(text, [place]);
  });
}

test("what would cost too much is text while it grows as well", { timeout: 300_000 }, () => {
  for (const text of [
    `${"- *a\n".repeat(3_000)}`,
    `${"> - a\nb\n".repeat(700)}\n\n**b**`,
    `${"*a_".repeat(9_000)}\n\n**b**`,
  ]) {
    expectSameAsWhole(text, [0.2, 0.5, 0.9, 0.99]);
  }
});

test("blocks before the end, and the closed items of a long list, stay the same objects", () => {
  const growing = new GrowingBlocks();
  const list = "- an item of the list\n".repeat(100);
  const [title, ...before] = growing.update(`# Title\n\nText.\n\n${list}`);
  const [again, ...after] = growing.update(`# Title\n\nText.\n\n${list}- and one more`);
  expect(again).toBe(title);
  expect(after[0]).toBe(before[0]);
  const [old, grown] = [before[1], after[1]].map((block) => partsOf(block as Block));
  expect(grown?.length).toBe(101);
  expect(grown?.slice(0, 98)).toEqual(old?.slice(0, 98));
  expect(grown?.filter((part, at) => part === old?.[at]).length).toBe(98);
});

test("a text that is another one, or shorter, is read anew", () => {
  const growing = new GrowingBlocks();
  for (const text of ["# one\n\ntwo\n\nthree", "# one", "other\n\ntext", ""]) {
    expect(look(growing.update(text))).toEqual(look(blocksOf(text)));
  }
});

test.each([
  ["- one\n- two\n\nBehind.\nMore.", 7],
  ["| a |\n|---|\n| 1 |\n| 2 |\n\nBehind.\nMore.", 8],
])("what loses a mark behind it is drawn whole: %j", (text, offset) => {
  const growing = new GrowingBlocks();
  const [marked] = growing.update(text, [{ offset, number: 1 }]) as [Block];
  const [plain] = growing.update(text) as [Block];
  expect(marked.behind).toEqual([1]);
  expect(closedParts(marked, plain)).toBe(0);
  expect(closedParts(plain, marked)).toBe(0);
  expect(closedParts(plain, plain)).toBe(2);
});
