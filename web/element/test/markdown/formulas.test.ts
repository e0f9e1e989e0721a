import { expect, test } from "vitest";
import { blocksOf, htmlOf } from "../../src/markdown/blocks.js";
import { formulaOf } from "../../src/markdown/formulas.js";

const html = (text: string): string => blocksOf(text).map(htmlOf).join("").trim();
const formulas = (text: string): (string | undefined)[] =>
  [...html(text).matchAll(/<var>(.*?)<\/var>/gs)].map(([, inner]) => inner);

for (const [text, found] of [
  ["It is $a^2$ here.", ["$a^2$"]],
  ["$x$, $y$ and $z$", ["$x$", "$y$", "$z$"]],
  ["$a_1 * b_2 * c_3$ is no _emphasis_", ["$a_1 * b_2 * c_3$"]],
  ["\\(a^2\\) and \\[b^2\\]", ["\\(a^2\\)", "\\[b^2\\]"]],
  ["inline $$c^2$$ too", ["$$c^2$$"]],
  ["$$\na = b\n- c\n= d\n$$", ["$$\na = b\n- c\n= d\n$$"]],
  ["Where\n\\[\n x \\\\\n y\n\\]\nit is.", ["\\[\n x \\\\\n y\n\\]"]],
  ["- item\n  $$\n  + x\n  $$", ["$$\n+ x\n$$"]],
  ["| a |\n|---|\n| $x$ |", ["$x$"]],
  ["**$x$**", ["$x$"]],
  ["$\\text{costs \\$5}$", ["$\\text{costs \\$5}$"]],
] as const) {
  test(`formulas of ${JSON.stringify(text)}`, () => expect(formulas(text)).toEqual(found));
}

for (const text of [
  "It costs $5 and $6.",
  "from $5-$6 a piece",
  "US$5 or US$6",
  "$5, $6, and $7",
  "5$ or 6$.",
  "$HOME:$PATH",
  "set $HOME and $USER",
  "`$x$` in code",
  "```\n$x$\n```",
  "\\$x\\$",
  "$ x $",
  "$$ that is open",
  "$x\n\ny$",
  "$$x\n\ny$$",
  "\\\\(x\\\\)",
  "$$$$",
  "$$",
]) {
  test(`no formula in ${JSON.stringify(text)}`, () => expect(formulas(text)).toEqual([]));
}

test("the words of prices stay as they are", () => {
  expect(html("It costs $5 and $6.")).toBe("<p>It costs $5 and $6.</p>");
});

test("what is in a formula is text", () => {
  expect(html("$a < b$ and $<img src=x>$")).toBe("<p><var>$a &lt; b$</var> and <var>$&lt;img src=x&gt;$</var></p>");
});

test("the signs of a formula say whether it has lines of its own", () => {
  expect(formulaOf("$a$")).toEqual({ tex: "a", isBlock: false });
  expect(formulaOf("\\(a\\)")).toEqual({ tex: "a", isBlock: false });
  expect(formulaOf("$$\na\n$$")).toEqual({ tex: "a", isBlock: true });
  expect(formulaOf("\\[a\\]")).toEqual({ tex: "a", isBlock: true });
});

for (const part of ["$", "$a", "$$", "$$a\n", "\\(", "\\[", "$$a", "$a "]) {
  test(`100 kB of ${JSON.stringify(part)} are read in the end`, { timeout: 60_000 }, () => {
    const text = part.repeat(Math.ceil(100_000 / part.length));
    expect(blocksOf(text).map(htmlOf).join("").length).toBeGreaterThan(0);
  });
}

test("the name of a language is text", () => {
  expect(html('```c++ "><img>\nx\n```')).toBe('<pre><code title="c++ &quot;&gt;&lt;img&gt;">x\n</code></pre>');
});
