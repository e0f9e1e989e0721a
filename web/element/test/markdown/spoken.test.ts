import { expect, test } from "vitest";
import { spokenText } from "../../src/markdown/spoken.js";

for (const [text, words] of [
  ["[Open the blue room](chatkit-link://open?room=blue) **now**.", "Open the blue room now."],
  ["# Title\n\nSome *words* &amp; `code`.", "Title\nSome words & code."],
  ["- one\n  - two\n- [x] three", "one\ntwo\nthree"],
  ["- one\n\n- two", "one\ntwo"],
  ["> quoted\n>\n> twice", "quoted\ntwice"],
  ["| a | b |\n|---|---|\n| 1 | **2** |", "a, b\n1, 2"],
  ["```js\nlet a;\n```", "let a;"],
  ["![A red dot](https://a.example/x.png)", "A red dot"],
  ["It is $a^2$.\n\n$$b$$", "It is a^2.\nb"],
  ["H<sub>2</sub>O<br>and \\*more\\*", "H2Oand *more*"],
  ["a\nb\n\n---\n\n[x]: /y", "a\nb"],
  ["", ""],
] as const) {
  test(`${JSON.stringify(text)} is said as words`, () => expect(spokenText(text)).toBe(words));
}
