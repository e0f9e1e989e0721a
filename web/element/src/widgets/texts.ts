import { MarkdownView } from "../markdown/view.js";
import { el } from "../ui/dom.js";
import type { Draw, DrawContext } from "./context.js";
import { classes, type Fields, isFields, tokenClass, words, wordsOrNull } from "./fields.js";
import { nameControl } from "./form.js";
import { applyTextStyle } from "./style.js";

export const TEXTS: Readonly<Record<string, Draw>> = {
  Title: (node) => plain(el("h3", { class: "w-title" }), node),
  Caption: (node) => plain(el("p", { class: "w-caption" }), node),
  Text: text,
  Markdown: markdown,
  Badge: badge,
};

function plain(element: HTMLElement, node: Fields): HTMLElement {
  element.textContent = words(node.value);
  applyTextStyle(element, node);
  return element;
}

function text(node: Fields, context: DrawContext): HTMLElement {
  if (isFields(node.editable)) return editable(node, node.editable, context);
  const element = plain(el("p", { class: "w-text" }), node);
  context.memory.growing.set(context.path, (value) => {
    element.textContent = value;
  });
  return element;
}

/** An editable text, as a control of its form. */
function editable(node: Fields, field: Fields, context: DrawContext): HTMLElement {
  const hasLines = Number(node.minLines) > 1 || Number(node.maxLines) > 1;
  const element = hasLines ? el("textarea", { rows: words(node.minLines) || "2" }) : el("input", { type: "text" });
  element.defaultValue = words(node.value);
  element.className = "w-text w-editable";
  applyTextStyle(element, { ...node, truncate: false, maxLines: undefined, minLines: undefined });
  applyFieldAttributes(element, field, context);
  return element;
}

/** Sets the attributes that all text fields have. */
export function applyFieldAttributes(
  element: HTMLInputElement | HTMLTextAreaElement,
  field: Fields,
  { prefix }: DrawContext,
): void {
  const name = words(field.name);
  nameControl(element, name, prefix);
  element.required = Boolean(field.required);
  element.disabled = Boolean(field.disabled);
  element.placeholder = words(field.placeholder);
  element.setAttribute("aria-label", words(field.placeholder) || name);
  const pattern = wordsOrNull(field.pattern);
  if (pattern && element instanceof HTMLInputElement) element.pattern = pattern;
  const autocomplete = wordsOrNull(field.autoComplete);
  if (autocomplete) element.setAttribute("autocomplete", autocomplete);
  if (!field.allowAutofillExtensions) keepAutofillAway(element, autocomplete);
  if (field.autoFocus) element.dataset.autofocus = "";
  if (field.autoSelect) element.addEventListener("focus", () => element.select(), { once: true });
}

/** Tells password managers to leave the field alone. */
function keepAutofillAway(element: HTMLElement, autocomplete: string | null): void {
  if (!autocomplete) element.setAttribute("autocomplete", "off");
  element.setAttribute("data-1p-ignore", "");
  element.setAttribute("data-lpignore", "true");
  element.setAttribute("data-bwignore", "");
}

function markdown(node: Fields, { host, memory, path }: DrawContext): HTMLElement {
  const element = el("div", { class: "markdown" });
  const view = new MarkdownView(element, host);
  view.update(words(node.value));
  memory.growing.set(path, (value) => view.update(value));
  return element;
}

function badge(node: Fields): HTMLElement {
  const look = classes(
    "w-badge",
    tokenClass("w", node.color ?? "secondary"),
    tokenClass("w", node.variant ?? "soft"),
    tokenClass("w-badge", node.size),
    node.pill === false && "w-square",
  );
  return el("span", { class: look }, words(node.label));
}
