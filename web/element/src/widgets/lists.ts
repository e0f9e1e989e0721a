import { fill } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { Draw, DrawContext } from "./context.js";
import { actionOf, childrenOf, type Fields } from "./fields.js";
import { status } from "./layout.js";
import { applyBoxStyle, applyTheme } from "./style.js";

/** The number of lines that a list of `limit: "auto"` shows at first. */
const AUTO_LIMIT = 5;

const PRESSABLE = "a, button, input, select, textarea, summary, label";

export const LISTS: Readonly<Record<string, Draw>> = { ListView: listView, ListViewItem: listItem };

function listView(node: Fields, context: DrawContext): HTMLElement {
  const { memory, path, texts } = context;
  const items = childrenOf(node);
  const limit = node.limit === "auto" ? AUTO_LIMIT : typeof node.limit === "number" ? node.limit : items.length;
  const shown = memory.expanded.has(path) ? items.length : Math.max(0, limit);
  const line = (item: unknown, index: number) => el("li", {}, context.draw(item, index));
  const lines = el("ul", { class: "w-list" }, items.slice(0, shown).map(line));
  const element = el("div", { class: "w-card" }, status(node.status, context), lines);
  applyTheme(element, node.theme);
  const count = items.length - shown;
  if (count <= 0) return element;
  const showMore = () => {
    memory.expanded.add(path);
    const more = items.slice(shown).map((item, index) => line(item, shown + index));
    lines.append(...more);
    button.remove();
    focusOn(more[0]);
  };
  const button = el(
    "button",
    { type: "button", class: "button quiet", on: { click: showMore } },
    fill(texts.showMore, { count }),
  );
  element.append(button);
  return element;
}

function focusOn(line: HTMLElement | undefined): void {
  const target = line?.querySelector<HTMLElement>(PRESSABLE) ?? line;
  if (target === line) line?.setAttribute("tabindex", "-1");
  target?.focus();
}

/** A line of a list. With an action it is a button, or contains one where it has other controls inside. */
function listItem(node: Fields, context: DrawContext): HTMLElement {
  const inner = el("div", {}, context.children(node));
  const action = actionOf(node.onClickAction);
  const element = action
    ? pressable(inner, () => context.act(action, { source: element, auto: "self" }), context)
    : el("div");
  element.classList.add("w-row");
  element.prepend(...inner.childNodes);
  applyBoxStyle(element, { gap: node.gap, align: node.align ?? "center" });
  return element;
}

function pressable(inner: HTMLElement, press: () => void, { texts }: DrawContext): HTMLElement {
  if (!inner.querySelector(PRESSABLE))
    return el("button", { type: "button", class: "w-list-button", on: { click: press } });
  const open = el(
    "button",
    { type: "button", class: "icon-button small", "aria-label": texts.open },
    icon("chevron-right"),
  );
  const click = ({ target }: Event) => {
    const pressed = target instanceof Element ? target.closest(PRESSABLE) : null;
    if (!pressed || pressed === open) press();
  };
  return el("div", { class: "w-list-line", on: { click } }, open);
}
