import { el } from "../ui/dom.js";
import type { Draw, DrawContext } from "./context.js";
import { childrenOf, type Fields, isFields, tokenClass } from "./fields.js";
import { applyBoxStyle, length } from "./style.js";

export const TABLES: Readonly<Record<string, Draw>> = { Table: table, "Table.Row": row, "Table.Cell": cell };

function table(node: Fields, context: DrawContext): HTMLElement {
  const children = childrenOf(node);
  const firstBody = children.findIndex((child) => !isFields(child) || !child.header);
  const headCount = firstBody === -1 ? children.length : firstBody;
  const rows = children.map((child, index) => context.draw(child, index));
  const head = rows.slice(0, headCount);
  const inner = el(
    "table",
    { class: "w-table" },
    head.length > 0 && el("thead", {}, head),
    el("tbody", {}, rows.slice(headCount)),
  );
  return el("div", { class: "scroll", tabindex: "0" }, inner);
}

function row(node: Fields, context: DrawContext): HTMLElement {
  return el("tr", { class: node.header ? "w-head" : null }, context.children({ children: headed(node) }));
}

/** The cells of a row. In a header row they are marked, because a cell does not tell itself that it is a header. */
function headed(node: Fields): readonly unknown[] {
  return childrenOf(node).map((child) => (node.header && isFields(child) ? { ...child, isHead: true } : child));
}

function cell(node: Fields, context: DrawContext): HTMLElement {
  const tag = node.isHead ? "th" : "td";
  const element = el(
    tag,
    { scope: node.isHead ? "col" : null, class: tokenClass("w-cell", node.colSize) },
    context.children(node),
  );
  if (isSpan(node.colSpan)) element.colSpan = node.colSpan;
  if (isSpan(node.rowSpan)) element.rowSpan = node.rowSpan;
  applyBoxStyle(element, { padding: node.padding });
  const { style } = element;
  const width = length(node.width);
  if (width) style.setProperty("width", width);
  if (typeof node.align === "string") style.setProperty("text-align", node.align);
  const vertical = { start: "top", center: "middle", end: "bottom" }[String(node.vAlign)];
  if (vertical) style.setProperty("vertical-align", vertical);
  return element;
}

function isSpan(value: unknown): value is number {
  return typeof value === "number" && value > 1;
}
