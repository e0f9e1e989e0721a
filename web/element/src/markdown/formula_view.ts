import { el } from "../ui/dom.js";
import type { ViewContext } from "../ui/view_context.js";
import { formulaOf } from "./formulas.js";

/** The formulas that are kept drawn, because the block that grows is drawn again and again. */
const MAX_KEPT = 300;

type Library = typeof import("./lazy/formulas.js");

let library: Library | null = null;
let loading: Promise<Library | null> | null = null;
/** By the source; null for one that does not parse. */
const kept = new Map<string, Node | null>();

/** Puts a formula in the place of an element with its source. One that does not parse stays as it is written. */
export function frameFormula(source: Element, emit: ViewContext["emit"]): void {
  const text = source.textContent ?? "";
  const isBlock = formulaOf(text).isBlock;
  const formula = el("span", { class: isBlock ? "formula block" : "formula", tabindex: isBlock ? 0 : null }, text);
  source.replaceWith(formula);
  if (library) draw(formula, text, library);
  else void loaded(emit).then((found) => found && formula.isConnected && draw(formula, text, found));
}

function draw(formula: Element, source: string, { drawFormula }: Library): void {
  if (!kept.has(source)) {
    if (kept.size >= MAX_KEPT) kept.clear();
    try {
      kept.set(source, drawFormula(formulaOf(source)));
    } catch {
      kept.set(source, null); // TeX that is not complete, or none at all, is shown as text
    }
  }
  const drawn = kept.get(source);
  if (drawn) formula.replaceChildren(drawn.cloneNode(true));
}

function loaded(emit: ViewContext["emit"]): Promise<Library | null> {
  loading ??= import("./lazy/formulas.js").then(
    (found) => {
      library = found;
      return found;
    },
    (error: unknown) => {
      emit("chatkit.log", { name: "formulas.not_loaded", data: { error: String(error) } });
      return null;
    },
  );
  return loading;
}
