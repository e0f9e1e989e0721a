import { el } from "../ui/dom.js";
import { drawChart } from "./charts/view.js";
import type { Draw, DrawContext } from "./context.js";
import { CONTROLS } from "./controls.js";
import { type Fields, words } from "./fields.js";
import { LAYOUT } from "./layout.js";
import { LISTS } from "./lists.js";
import { MEDIA } from "./media.js";
import { TABLES } from "./table.js";
import { TEXTS } from "./texts.js";

/** The function that draws each component, by type. */
export const COMPONENTS: ReadonlyMap<string, Draw> = new Map(
  Object.entries({ ...LAYOUT, ...LISTS, ...TEXTS, ...MEDIA, ...TABLES, ...CONTROLS, Chart: drawChart }),
);

export function unknownComponent(node: Fields, context: DrawContext): Node {
  const inner = context.children(node);
  if (inner.length) return el("div", { class: "w-col" }, inner);
  const said = [node.title, node.label, node.value, node.text, node.alt].map(words).filter(Boolean);
  return el("p", { class: "w-text" }, said.join(" ") || `(${words(node.type) || context.texts.unknownComponent})`);
}
