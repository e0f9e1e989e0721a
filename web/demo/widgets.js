import { el, safeImageSource } from "./dom.js";
import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";
import { CONTROLS, formValues } from "./widget_controls.js";
import { applyBoxStyle, applyTextStyle } from "./widget_style.js";

let nextId = 0;

/**
 * Draws a widget.
 *
 * @param {object} root the widget's root component
 * @param {(action: object) => Promise<void>} dispatch an action with what its form holds merged into the payload
 * @returns {HTMLElement} a component that is not known is shown by its children, its text, or its name
 */
export function renderWidget(root, dispatch) {
  const frame = el("div", { class: "widget" });
  const context = {
    prefix: `widget-${(nextId += 1)}`,
    async act(action, source) {
      const values = formValues(source?.closest("form"));
      const lock = action.loadingBehavior !== "none";
      if (lock) setBusy(frame, true);
      try {
        await dispatch({ ...action, payload: withValues(action.payload, values) });
      } finally {
        if (lock) setBusy(frame, false);
      }
    },
  };
  frame.append(render(root, context));
  for (const { htmlFor } of frame.querySelectorAll("label[for]")) {
    frame.querySelector(`#${CSS.escape(htmlFor)}`)?.removeAttribute("aria-label");
  }
  return frame;
}

function setBusy(frame, busy) {
  frame.setAttribute("aria-busy", String(busy));
  for (const control of frame.querySelectorAll("button, input, select, textarea")) {
    if (busy) control.dataset.wasDisabled = String(control.disabled);
    control.disabled = busy || control.dataset.wasDisabled === "true";
  }
}

function withValues(payload, values) {
  if (Object.keys(values).length === 0) return payload ?? null;
  return payload && typeof payload === "object" && !Array.isArray(payload) ? { ...payload, ...values } : values;
}

function render(node, context) {
  if (!node || typeof node !== "object") return document.createTextNode(String(node ?? ""));
  const draw = COMPONENTS[node.type] ?? CONTROLS[node.type] ?? unknown;
  return draw(node, { ...context, render: (child) => render(child, context), children: (parent) => children(parent, context) });
}

function children(node, context) {
  const list = Array.isArray(node.children) ? node.children : node.children ? [node.children] : [];
  return list.map((child) => render(child, context));
}

const COMPONENTS = {
  Card: card,
  Basic: (node, context) => box("col")(node, context),
  Box: (node, context) => box(node.direction ?? "col")(node, context),
  Row: (node, context) => box("row")(node, context),
  Col: (node, context) => box("col")(node, context),
  Transition: (node, context) => el("div", { class: "w-col" }, context.children(node)),
  ListView: listView,
  ListViewItem: listItem,
  Text: (node) => text("p", "w-text", node),
  Title: (node) => text("h3", "w-title", node),
  Caption: (node) => text("p", "w-caption", node),
  Markdown: (node) => renderMarkdown(node.value ?? ""),
  Badge: (node) => el("span", { class: `w-badge w-${node.color ?? "secondary"}` }, node.label),
  Icon: (node) => icon(node.name, `w-icon size-${node.size ?? "md"}`),
  Divider: () => el("hr", { class: "w-divider" }),
  Spacer: () => el("div", { class: "w-spacer" }),
  Image: image,
  Chart: chart,
  Form: form,
};

function box(direction) {
  return (node, context) => {
    const element = el("div", { class: `w-${direction}` }, context.children(node));
    applyBoxStyle(element, node);
    return element;
  };
}

function text(tag, className, node) {
  const element = el(tag, { class: className }, node.value ?? "");
  applyTextStyle(element, node);
  return element;
}

function card(node, context) {
  const footer = el(
    "div",
    { class: "w-card-footer" },
    node.cancel && footerButton(node.cancel, "secondary", context),
    node.confirm && footerButton(node.confirm, "primary", context),
  );
  const attributes = { class: `w-card w-card-${node.size ?? "md"}` };
  if (node.asForm) attributes.on = { submit: (event) => event.preventDefault() };
  const element = el(node.asForm ? "form" : "div", attributes, status(node.status), context.children(node));
  if (footer.childElementCount) element.append(footer);
  const { background, padding } = node;
  applyBoxStyle(element, { background, padding });
  if (node.theme) element.dataset.theme = node.theme;
  return element;
}

function footerButton({ label, action }, look, context) {
  const press = ({ currentTarget }) => {
    if (look === "secondary" || (currentTarget.form?.reportValidity() ?? true)) context.act(action, currentTarget);
  };
  return el("button", { type: "button", class: `button ${look}`, on: { click: press } }, label);
}

function status(value) {
  if (!value) return null;
  return el("p", { class: "w-status" }, value.icon && icon(value.icon), value.text);
}

function form(node, context) {
  const submit = (event) => {
    event.preventDefault();
    if (node.onSubmitAction) context.act(node.onSubmitAction, event.currentTarget);
  };
  const element = el("form", { class: `w-${node.direction ?? "col"}`, on: { submit } }, context.children(node));
  applyBoxStyle(element, node);
  return element;
}

function listView(node, context) {
  const items = node.children ?? [];
  const limit = typeof node.limit === "number" ? node.limit : items.length;
  const list = el("ul", { class: "w-list" }, items.slice(0, limit).map((item) => el("li", {}, context.render(item))));
  const more = items.slice(limit);
  if (!more.length) return el("div", { class: "w-card" }, status(node.status), list);
  const showMore = ({ currentTarget }) => {
    list.append(...more.map((item) => el("li", {}, context.render(item))));
    currentTarget.remove();
  };
  const button = el("button", { type: "button", class: "button quiet", on: { click: showMore } }, `Show ${more.length} more`);
  return el("div", { class: "w-card" }, status(node.status), list, button);
}

function listItem(node, context) {
  const inner = context.children(node);
  const press = ({ currentTarget }) => context.act(node.onClickAction, currentTarget);
  const element = node.onClickAction
    ? el("button", { type: "button", class: "w-row w-list-button", on: { click: press } }, inner)
    : el("div", { class: "w-row" }, inner);
  applyBoxStyle(element, { gap: node.gap, align: node.align ?? "center" });
  return element;
}

function image(node) {
  const source = safeImageSource(node.src ?? "");
  if (!source) return el("p", { class: "w-caption" }, node.alt ?? "Image");
  const element = el("img", { class: "w-image", src: source, alt: node.alt ?? "", loading: "lazy" });
  applyBoxStyle(element, node);
  if (node.fit) element.style.setProperty("object-fit", node.fit);
  if (node.position) element.style.setProperty("object-position", node.position);
  return element;
}

/** A chart's numbers, as a table: readable by everyone. */
function chart(node) {
  const axis = typeof node.xAxis === "string" ? node.xAxis : node.xAxis?.dataKey;
  const series = node.series ?? [];
  const head = el("tr", {}, el("th", { scope: "col" }, axis ?? ""), series.map((one) => el("th", { scope: "col" }, one.label ?? one.dataKey)));
  const rows = (node.data ?? []).map((row) =>
    el("tr", {}, el("th", { scope: "row" }, String(row[axis] ?? "")), series.map((one) => el("td", {}, String(row[one.dataKey] ?? "")))),
  );
  return el("div", { class: "scroll", tabindex: "0" }, el("table", { class: "w-chart" }, el("thead", {}, head), el("tbody", {}, rows)));
}

function unknown(node, context) {
  const inner = context.children(node);
  if (inner.length) return el("div", { class: "w-col" }, inner);
  const words = [node.title, node.label, node.value, node.text, node.alt].filter((word) => typeof word === "string");
  return el("p", { class: "w-text" }, words.join(" ") || `(${node.type ?? "component"})`);
}
