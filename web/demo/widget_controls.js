import { el } from "./dom.js";
import { icon } from "./icons.js";

/** A widget's controls: each a native one, so that keyboard, labels and validation are the browser's. */
export const CONTROLS = {
  Button: button,
  Input: (node, context) => input(node, context, { type: node.inputType ?? "text" }),
  Textarea: textarea,
  Select: select,
  DatePicker: datePicker,
  Checkbox: checkbox,
  RadioGroup: radioGroup,
  Label: (node, context) => el("label", { class: "w-label", for: fieldId(context, node.fieldName) }, node.value),
};

const SMALL = new Set(["3xs", "2xs", "xs", "sm"]);

/** What a form holds: `a.b` names nest, a checkbox is a boolean. */
export function formValues(form) {
  const values = {};
  if (!form) return values;
  for (const control of form.elements) {
    if (!control.name || (control.type === "radio" && !control.checked)) continue;
    const value = control.type === "checkbox" ? control.checked : control.value;
    const path = control.name.split(".");
    const last = path.pop();
    let place = values;
    for (const step of path) place = Object.hasOwn(place, step) ? place[step] : (place[step] = Object.create(null));
    place[last] = value;
  }
  return values;
}

const fieldId = (context, name) => `${context.prefix}-${name}`;

/** A name for a control that has no label of its own. */
function common(node, context) {
  return {
    id: fieldId(context, node.name),
    name: node.name,
    required: Boolean(node.required),
    disabled: Boolean(node.disabled),
    placeholder: node.placeholder,
    pattern: node.pattern,
    "aria-label": node.ariaLabel ?? node.placeholder ?? node.name,
    class: "field",
  };
}

function changed(node, context, value = (control) => control.value) {
  if (!node.onChangeAction) return {};
  return {
    change: ({ currentTarget }) => {
      const payload = { ...node.onChangeAction.payload, [node.name]: value(currentTarget) };
      context.act({ ...node.onChangeAction, payload }, null);
    },
  };
}

function button(node, context) {
  const look = node.style === "primary" || (node.variant === "solid" && node.color === "primary") ? "primary" : "secondary";
  const press = ({ currentTarget }) => {
    if (node.onClickAction) context.act(node.onClickAction, currentTarget);
  };
  return el(
    "button",
    {
      type: node.submit ? "submit" : "button",
      class: ["button", look, node.block && "block", SMALL.has(node.size) && "small", node.color && `w-${node.color}`].filter(Boolean).join(" "),
      disabled: Boolean(node.disabled),
      "aria-label": node.label ? null : node.iconStart ?? node.iconEnd ?? "Button",
      on: { click: press },
    },
    node.iconStart && icon(node.iconStart),
    node.label,
    node.iconEnd && icon(node.iconEnd),
  );
}

function input(node, context, attributes) {
  return el("input", { ...common(node, context), ...attributes, value: node.defaultValue, on: changed(node, context) });
}

function textarea(node, context) {
  return el("textarea", { ...common(node, context), rows: node.rows ?? 3, value: node.defaultValue, on: changed(node, context) });
}

function select(node, context) {
  const options = (node.options ?? []).map(({ value, label, disabled }) =>
    el("option", { value, disabled: Boolean(disabled), selected: value === node.defaultValue }, label),
  );
  if (node.defaultValue === undefined || node.clearable) {
    options.unshift(el("option", { value: "", selected: node.defaultValue === undefined }, node.placeholder ?? "Choose…"));
  }
  return el("select", { ...common(node, context), placeholder: null, on: changed(node, context) }, options);
}

function datePicker(node, context) {
  const day = (value) => value?.slice(0, 10);
  const limits = { type: "date", min: day(node.min), max: day(node.max) };
  return input({ ...node, defaultValue: day(node.defaultValue) }, context, limits);
}

function checkbox(node, context) {
  const control = el("input", {
    ...common(node, context),
    "aria-label": node.label ? null : node.name,
    type: "checkbox",
    class: null,
    checked: Boolean(node.defaultChecked),
    on: changed(node, context, (box) => box.checked),
  });
  return el("label", { class: "w-check" }, control, node.label);
}

function radioGroup(node, context) {
  const options = (node.options ?? []).map(({ value, label, disabled }) =>
    el(
      "label",
      { class: "w-check" },
      el("input", {
        type: "radio",
        name: node.name,
        value,
        checked: value === node.defaultValue,
        required: Boolean(node.required),
        disabled: Boolean(disabled || node.disabled),
        on: changed(node, context),
      }),
      label,
    ),
  );
  const label = node.ariaLabel ?? node.name;
  return el("div", { role: "radiogroup", "aria-label": label, class: node.direction === "row" ? "w-row" : "w-col" }, options);
}
