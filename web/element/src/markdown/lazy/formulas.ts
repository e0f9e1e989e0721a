/** A file of its own, which is loaded once an answer has a formula. */
import katex from "katex";
import type { Formula } from "../formulas.js";

/** Draws the formula as MathML, which needs no fonts and no styles. Throws where the TeX does not parse. */
export function drawFormula({ tex, isBlock }: Formula): Node {
  const drawn = document.createElement("span");
  katex.render(tex, drawn, {
    displayMode: isBlock,
    output: "mathml",
    throwOnError: true,
    strict: "ignore",
    trust: false,
    maxExpand: 500,
    maxSize: 50,
  });
  const math = drawn.querySelector("math");
  if (!math) throw new Error("KaTeX made no MathML");
  return math;
}
