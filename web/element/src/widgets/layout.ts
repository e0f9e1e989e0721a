import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { imageSource, picture } from "../ui/images.js";
import type { Draw, DrawContext } from "./context.js";
import { actionOf, childrenOf, type Fields, isFields, token, words, wordsOrNull } from "./fields.js";
import { applyBoxStyle, applyTheme, length, spacing } from "./style.js";

/** The containers, and the parts between their children. */
export const LAYOUT: Readonly<Record<string, Draw>> = {
  Card: card,
  Basic: basic,
  Box: (node, context) => box(node, context, direction(node)),
  Row: (node, context) => box(node, context, "row"),
  Col: (node, context) => box(node, context, "col"),
  Form: form,
  Spacer: spacer,
  Divider: divider,
  Transition: transition,
};

function direction(node: Fields): "row" | "col" {
  return node.direction === "row" ? "row" : "col";
}

function box(node: Fields, context: DrawContext, way: "row" | "col"): HTMLElement {
  const element = el("div", { class: `w-${way}` }, context.children(node));
  applyBoxStyle(element, node);
  return element;
}

function basic(node: Fields, context: DrawContext): HTMLElement {
  const element = box(node, context, direction(node));
  applyTheme(element, node.theme);
  return element;
}

function form(node: Fields, context: DrawContext): HTMLElement {
  const element = el("form", { class: `w-${direction(node)}` }, context.children(node));
  onSubmit(element, node.onSubmitAction, context);
  applyBoxStyle(element, node);
  return element;
}

function onSubmit(element: HTMLFormElement, given: unknown, context: DrawContext): void {
  const action = actionOf(given);
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    const source = event.submitter ?? element;
    if (action) context.act(action, { source, auto: "container", form: element });
  });
}

function card(node: Fields, context: DrawContext): HTMLElement {
  const isForm = Boolean(node.asForm);
  const element = isForm ? el("form") : el("div");
  element.className = `w-card w-card-${token(node.size) ?? "md"}`;
  if (element instanceof HTMLFormElement) onSubmit(element, confirmOf(node), context);
  const header = status(node.status, context);
  const body = [...context.children(node), ...footer(node, isForm, context)];
  if (node.collapsed) element.append(collapsed(header, node, body, context));
  else element.append(...(header ? [header] : []), ...body);
  applyBoxStyle(element, { background: node.background, border: node.border, padding: node.padding });
  if (node.padding !== undefined) element.style.setProperty("--w-pad", sidePadding(node.padding));
  applyTheme(element, node.theme);
  return element;
}

/** The padding at the sides, which a flush child extends over. */
function sidePadding(padding: unknown): string {
  const side = isFields(padding) ? (padding.x ?? padding.left) : padding;
  return spacing(side) ?? "0px";
}

function confirmOf({ confirm }: Fields): unknown {
  return isFields(confirm) ? confirm.action : null;
}

function footer(node: Fields, isForm: boolean, context: DrawContext): HTMLElement[] {
  const buttons = [
    ...footerButton(node.cancel, "secondary", false, context),
    ...footerButton(node.confirm, "primary", isForm, context),
  ];
  return buttons.length ? [el("div", { class: "w-card-footer" }, buttons)] : [];
}

/** A button below a card. Confirm submits the form, which is validated; Cancel leaves it unvalidated. */
function footerButton(given: unknown, look: string, submits: boolean, context: DrawContext): HTMLElement[] {
  const action = isFields(given) ? actionOf(given.action) : null;
  if (!isFields(given) || !action) return [];
  const button = el("button", { type: submits ? "submit" : "button", class: `button ${look}` }, words(given.label));
  if (!submits) {
    button.addEventListener("click", () =>
      context.act(action, { source: button, auto: "container", form: button.form }),
    );
  }
  return [button];
}

/** A card that is done: its status, which opens the rest of the card. */
function collapsed(header: HTMLElement | null, node: Fields, body: readonly Node[], context: DrawContext): HTMLElement {
  const { memory, path, texts } = context;
  const title = childrenOf(node).find((child) => isFields(child) && child.type === "Title");
  const name = isFields(title) ? wordsOrNull(title.value) : null;
  const summary = el("summary", {}, header ?? name ?? texts.details);
  const details = el("details", { class: "w-collapsed", open: memory.expanded.has(path) }, summary);
  details.append(el("div", { class: "w-col" }, body));
  details.addEventListener("toggle", () => {
    if (details.open) memory.expanded.add(path);
    else memory.expanded.delete(path);
  });
  return details;
}

/** The status line above the content of a card or a list. */
export function status(value: unknown, { host }: DrawContext): HTMLElement | null {
  if (!isFields(value)) return null;
  const source = imageSource(value.favicon, host.imageDomains);
  const look = value.frame ? "w-favicon framed" : "w-favicon";
  const mark = source && picture(source, { class: look, alt: "" });
  const drawn = wordsOrNull(value.icon);
  mark?.addEventListener("error", () => mark.remove());
  return el("p", { class: "w-status" }, mark ?? (drawn && icon(drawn)), el("span", {}, words(value.text)));
}

function spacer(node: Fields): HTMLElement {
  const element = el("div", { class: "w-spacer" });
  const size = length(node.minSize);
  if (size) element.style.setProperty("flex", `1 0 ${size}`);
  return element;
}

function divider(node: Fields): HTMLElement {
  const element = el("hr", { class: node.flush ? "w-divider flush" : "w-divider" });
  applyBoxStyle(element, { lineColor: node.color, lineSize: node.size, lineSpacing: node.spacing });
  return element;
}

/** A container whose new content fades in. */
function transition(node: Fields, context: DrawContext): HTMLElement {
  const [child] = childrenOf(node);
  const key = isFields(child) ? words(child.key) || words(child.id) || words(child.type) : "";
  const isNew = context.memory.isNew(context.path, key);
  return el("div", { class: isNew ? "w-col w-transition" : "w-col" }, context.children(node));
}
