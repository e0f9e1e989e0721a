import { afterEach, expect, test, vi } from "vitest";
import { blocksOf, GrowingBlocks, htmlOf } from "../../src/markdown/blocks.js";
import { BoundedLexer } from "../../src/markdown/lexer.js";

const lines = (count: number, line: (number: number) => string): string =>
  Array.from({ length: count }, (_, number) => line(number)).join("");

/** Texts of which a part once cost as much as all that is before or behind it. */
const HOSTILE: Readonly<Record<string, (size: number) => string>> = {
  "definitions in front of paragraphs": (size) => `${lines(size, (n) => `[a${n}]: b\n`)}\n${"x\n\n".repeat(3 * size)}`,
  "definitions in a list": (size) => lines(size, (n) => `- [a${n}]: b\n`),
  paragraphs: (size) => "x\n\n".repeat(3 * size),
  "quotes that cost too much": (size) => "> - a\nb\n".repeat(4 * size),
  "headings and formulas that are open": (size) => "# a\n$x\n".repeat(size),
};

afterEach(() => vi.restoreAllMocks());

/** Counts what is done: searches in texts, names of definitions that are listed, and elements that are looked at. */
function workOf(read: () => void): number {
  let work = 0;
  const count = (owner: object, name: string, cost: (result: unknown) => number) => {
    const original = Reflect.get(owner, name);
    Reflect.set(owner, name, function counted(this: unknown, ...values: unknown[]) {
      const result = Reflect.apply(original, this, values);
      work += cost(result);
      return result;
    });
    return () => Reflect.set(owner, name, original);
  };
  const length = (result: unknown) => (result as unknown[]).length;
  const restore = [
    count(RegExp.prototype, "test", () => 1),
    count(RegExp.prototype, "exec", () => 1),
    count(String.prototype, "trim", () => 1),
    count(Object, "keys", length),
    count(Object, "entries", length),
    count(Map.prototype, "get", () => 1),
    countLooks((looks) => {
      work += looks;
    }),
  ];
  try {
    read();
  } finally {
    for (const undo of restore) undo();
  }
  return work;
}

/** Counts the elements that `find` looks at. */
function countLooks(add: (looks: number) => void): () => void {
  const find = Array.prototype.find;
  Reflect.set(Array.prototype, "find", function counted(this: unknown[], ...values: Parameters<typeof find>) {
    const index = this.findIndex(...values);
    add(index === -1 ? this.length : index + 1);
    return this[index];
  });
  return () => Reflect.set(Array.prototype, "find", find);
}

for (const [name, text] of Object.entries(HOSTILE)) {
  test(`${name}: a longer text costs as much more work as it is longer`, { timeout: 60_000 }, () => {
    const [once, twice] = [text(500), text(1_000)];
    const [work, twiceTheWork] = [workOf(() => blocksOf(once)), workOf(() => blocksOf(twice))];
    expect(work).toBeGreaterThan(once.length / 10);
    expect(twiceTheWork / twice.length).toBeLessThan(1.1 * (work / once.length));
    expect(twiceTheWork).toBeLessThan(20 * twice.length);
  });
}

test("a text that grows behind many definitions is not read from its beginning again", () => {
  const start = `${lines(400, (n) => `[a${n}]: b\n`)}\nwords\n\n`;
  const growing = new GrowingBlocks();
  growing.update(start);
  let characters = 0;
  const lex = BoundedLexer.prototype.lex;
  vi.spyOn(BoundedLexer.prototype, "lex").mockImplementation(function counted(this: BoundedLexer, source: string) {
    characters += source.length;
    return lex.call(this, source);
  });
  const more = "A paragraph of it with [a1].\n\n".repeat(200);
  for (let length = 10; length <= more.length; length += 10) growing.update(start + more.slice(0, length));
  // Each drawing reads its last two paragraphs at most, besides the first, which reads the start once more.
  expect(characters).toBeLessThan(2 * start.length + (more.length / 10) * 80);
});

test("a text that grows behind many definitions has the blocks of the whole text, wherever it is cut", () => {
  const start = `${lines(300, (n) => `[a${n}]: /${n}\n`)}\nwords\n\n`;
  const more =
    '[a7] and [b]\n\n- [a299]\n\n  [a1]: /late\n\n[a300]: /last "t\n\nu"\n[a1]\n$$\nx\n$$\n[b]: /b\n\n[a300]\n';
  const growing = new GrowingBlocks();
  for (let length = 0; length <= more.length; length += 1) {
    const text = start + more.slice(0, length);
    expect(growing.update(text).map(htmlOf)).toEqual(blocksOf(text).map(htmlOf));
  }
});
