import { el } from "../ui/dom.js";
import { drawChart } from "./charts/view.js";
import type { Draw, DrawContext } from "./context.js";
import { CONTROLS } from "./controls.js";
import { type Fields, words } from "./fields.js";
import { LAYOUT } from "./layout.js";
import { LISTS } from "./lists.js";
import { MEDIA } from "./media.js";
import { drawSiteComponent, type SiteComponent, setSiteComponent } from "./site_components.js";
import { TABLES } from "./table.js";
import { TEXTS } from "./texts.js";

/** The function that draws each component, by type. */
export const COMPONENTS: ReadonlyMap<string, Draw> = new Map(
  Object.entries({ ...LAYOUT, ...LISTS, ...TEXTS, ...MEDIA, ...TABLES, ...CONTROLS, Chart: drawChart }),
);

/**
 * Registers a component of the site's own, which a server's widget names in `type`. Throws TypeError for a type of
 * ChatKit's, and for one that is no name.
 */
export function registerComponent(type: string, draw: SiteComponent): void {
  if (!/^[\w.-]+$/.test(type)) throw new TypeError(`"${type}" is no name of a component.`);
  if (COMPONENTS.has(type)) throw new TypeError(`ChatKit has a component ${type} already.`);
  setSiteComponent(type, draw);
}

/** A component of the site's, or one that nobody knows: its children, its text, or its name. */
export function otherComponent(node: Fields, context: DrawContext): Node {
  return drawSiteComponent(words(node.type), node, context) ?? unknownComponent(node, context);
}

function unknownComponent(node: Fields, context: DrawContext): Node {
  const inner = context.children(node);
  if (inner.length) return el("div", { class: "w-col" }, inner);
  const said = [node.title, node.label, node.value, node.text, node.alt].map(words).filter(Boolean);
  return el("p", { class: "w-text" }, said.join(" ") || `(${words(node.type) || context.texts.unknownComponent})`);
}
