import { drawChart } from "./chart_view.js";
import { el } from "./dom.js";
import type { Draw, DrawContext } from "./widget_context.js";
import { CONTROLS } from "./widget_controls.js";
import { type Fields, words } from "./widget_fields.js";
import { LAYOUT } from "./widget_layout.js";
import { LISTS } from "./widget_lists.js";
import { MEDIA } from "./widget_media.js";
import { TABLES } from "./widget_table.js";
import { TEXTS } from "./widget_texts.js";

/** How each component is drawn, by its type. */
export const COMPONENTS: ReadonlyMap<string, Draw> = new Map(
  Object.entries({ ...LAYOUT, ...LISTS, ...TEXTS, ...MEDIA, ...TABLES, ...CONTROLS, Chart: drawChart }),
);

export function unknownComponent(node: Fields, context: DrawContext): Node {
  const inner = context.children(node);
  if (inner.length) return el("div", { class: "w-col" }, inner);
  const said = [node.title, node.label, node.value, node.text, node.alt].map(words).filter(Boolean);
  return el("p", { class: "w-text" }, said.join(" ") || `(${words(node.type) || context.texts.unknownComponent})`);
}
