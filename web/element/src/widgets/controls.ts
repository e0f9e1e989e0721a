import { el } from "../ui/dom.js";
import { growByText } from "../ui/grow.js";
import { icon } from "../ui/icons.js";
import { Combobox } from "./choosing/combobox.js";
import { DatePicker } from "./choosing/date_picker.js";
import type { Draw, DrawContext } from "./context.js";
import { actionOf, classes, type Fields, records, tokenClass, words, wordsOrNull } from "./fields.js";
import { type Control, nameControl, nestedValues, valueIn, withValues } from "./form.js";
import { applyTextStyle } from "./style.js";
import { applyFieldAttributes } from "./texts.js";

/** The controls of a widget. They are native ones, so that the browser does keyboard, labels and validation. */
export const CONTROLS: Readonly<Record<string, Draw>> = {
  Button: button,
  Input: input,
  Textarea: textarea,
  Select: select,
  DatePicker: datePicker,
  Checkbox: checkbox,
  RadioGroup: radioGroup,
  Label: label,
};

const INPUT_TYPES = new Set(["number", "email", "text", "password", "tel", "url"]);

function button(node: Fields, context: DrawContext): HTMLElement {
  const action = actionOf(node.onClickAction);
  const [start, end] = [wordsOrNull(node.iconStart), wordsOrNull(node.iconEnd)];
  const name = wordsOrNull(node.label);
  const press = () => {
    if (!action) return;
    if (node.submit && element.form && !element.form.checkValidity()) return;
    context.act(action, { source: element, auto: "self", form: element.form });
  };
  const size = tokenClass("size", node.iconSize) ?? "";
  const element = el(
    "button",
    {
      type: node.submit ? "submit" : "button",
      class: buttonLook(node),
      disabled: Boolean(node.disabled),
      "aria-label": name ? null : (start ?? end ?? context.texts.button),
      on: { click: press },
    },
    start && icon(start, size),
    name,
    end && icon(end, size),
  );
  return element;
}

function buttonLook(node: Fields): string {
  const isPrimary = node.style === "primary" || (node.variant === "solid" && (node.color ?? "primary") === "primary");
  return classes(
    "button",
    isPrimary ? "primary" : "secondary",
    tokenClass("w", node.variant),
    tokenClass("w", node.color),
    tokenClass("w-control", node.size),
    Boolean(node.pill) && "w-pill",
    Boolean(node.uniform) && "w-uniform",
    Boolean(node.block) && "block",
  );
}

function fieldLook(node: Fields): string {
  return classes(
    "field",
    tokenClass("w", node.variant),
    tokenClass("w-control", node.size),
    tokenClass("w-gutter", node.gutterSize),
    Boolean(node.pill) && "w-pill",
    Boolean(node.block) && "block",
  );
}

/** Dispatches the control's action with the new value after each change. */
function onChange(control: Control, node: Fields, context: DrawContext, shown: HTMLElement = control): void {
  const action = actionOf(node.onChangeAction);
  if (!action) return;
  control.addEventListener("change", () => {
    const value = nestedValues([[words(node.name), valueIn(control)]]);
    const payload = withValues(action.payload, value, context.ignored);
    context.act({ ...action, payload }, { source: shown, auto: "none" });
  });
}

function input(node: Fields, context: DrawContext): HTMLElement {
  const type = words(node.inputType);
  const element = el("input", { type: INPUT_TYPES.has(type) ? type : "text", class: fieldLook(node) });
  element.defaultValue = words(node.defaultValue);
  applyFieldAttributes(element, node, context);
  onChange(element, node, context);
  return element;
}

function textarea(node: Fields, context: DrawContext): HTMLElement {
  const rows = Number(node.rows) || 3;
  const element = el("textarea", { rows: String(rows), class: fieldLook(node) });
  element.defaultValue = words(node.defaultValue);
  applyFieldAttributes(element, node, context);
  if (node.autoResize) {
    element.classList.add("w-grows");
    growByText(element);
    const most = Number(node.maxRows);
    if (most > 0) element.style.setProperty("max-height", `calc(${most} * 1lh + 18px)`);
  }
  onChange(element, node, context);
  return element;
}

function select(node: Fields, context: DrawContext): HTMLElement {
  const initial = words(node.defaultValue);
  const options = records(node.options).map((option) => {
    const value = words(option.value);
    const text = [option.label, option.description].map(words).filter(Boolean).join(" – ");
    return el(
      "option",
      { value, disabled: Boolean(option.disabled), selected: value === initial && initial !== "" },
      text,
    );
  });
  const none = wordsOrNull(node.placeholder) ?? context.texts.choose;
  if (!initial || node.clearable) options.unshift(el("option", { value: "", selected: initial === "" }, none));
  const element = el(
    "select",
    { class: fieldLook(node), "aria-label": wordsOrNull(node.placeholder) ?? words(node.name) },
    options,
  );
  applyName(element, node, context);
  onChange(element, node, context);
  if (!node.searchable) return element;
  const { nothingFound } = context.host.texts.composer;
  const name = wordsOrNull(node.placeholder) ?? words(node.name);
  return new Combobox(element, { name, placeholder: none, nothingFound }).node;
}

function applyName(control: Control, node: Fields, { prefix }: DrawContext): void {
  nameControl(control, words(node.name), prefix);
  control.disabled = Boolean(node.disabled);
  control.required = Boolean(node.required);
}

function datePicker(node: Fields, context: DrawContext): HTMLElement {
  const picker = new DatePicker(node, context, fieldLook(node));
  applyName(picker.control, node, context);
  onChange(picker.control, node, context, picker.node);
  return picker.node;
}

function checkbox(node: Fields, context: DrawContext): HTMLElement {
  const control = el("input", { type: "checkbox", checked: Boolean(node.defaultChecked) });
  const text = wordsOrNull(node.label);
  if (!text) control.setAttribute("aria-label", words(node.name));
  applyName(control, node, context);
  const element = el("label", { class: "w-check" }, control, text);
  onChange(control, node, context, element);
  return element;
}

function radioGroup(node: Fields, context: DrawContext): HTMLElement {
  const name = words(node.name);
  const group = el("div", {
    role: "radiogroup",
    "aria-label": wordsOrNull(node.ariaLabel) ?? name,
    "aria-required": node.required ? "true" : null,
    "data-group": name,
    class: node.direction === "row" ? "w-row w-choices" : "w-col",
  });
  for (const option of records(node.options)) {
    const value = words(option.value);
    const control = el("input", { type: "radio", value, checked: value === words(node.defaultValue) });
    applyName(control, node, context);
    control.disabled = Boolean(option.disabled || node.disabled);
    onChange(control, node, context, group);
    group.append(el("label", { class: "w-check" }, control, words(option.label)));
  }
  return group;
}

function label(node: Fields): HTMLElement {
  const element = el("label", { class: "w-label", "data-field": words(node.fieldName) }, words(node.value));
  applyTextStyle(element, node);
  return element;
}
