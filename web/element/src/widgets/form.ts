import { isFields } from "./fields.js";

type Values = Record<string, unknown>;

/** Puts values under their names: `a.b` nests, of two under one name the later holds. */
export function nestedValues(entries: Iterable<readonly [name: string, value: unknown]>): Values {
  const values: Values = {};
  for (const [name, value] of entries) {
    const path = name.split(".");
    const last = path.pop() ?? name;
    let place = values;
    for (const step of path) {
      const known = Object.hasOwn(place, step) ? place[step] : undefined;
      const inner = isFields(known) ? (known as Values) : {};
      define(place, step, inner);
      place = inner;
    }
    define(place, last, value);
  }
  return values;
}

/** As an own property, whatever its name is. */
function define(place: Values, name: string, value: unknown): void {
  Object.defineProperty(place, name, { value, configurable: true, enumerable: true, writable: true });
}

/** An action's payload with what its form holds. */
export function withValues(payload: unknown, values: Values): unknown {
  if (Object.keys(values).length === 0) return payload ?? null;
  return isFields(payload) ? { ...payload, ...values } : values;
}

export type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/**
 * Gives a control the name that a widget has for it. To the form it has another one, which no other widget's control
 * has: a form's properties of its own give way to its controls, so that a field named `style` would take the place of
 * `form.style`, and radios of two widgets with one name would be one group.
 */
export function nameControl(control: Control, name: string, prefix: string): void {
  if (name !== "") control.name = `${prefix}-${name}`;
  control.dataset.name = name;
}

/** The controls of a widget that have a name, in order. */
export function controlsOf(parent: ParentNode): Control[] {
  return [...parent.querySelectorAll<Control>(":is(input, select, textarea)[data-name]")];
}

export function nameOf(control: Element): string {
  return (control as HTMLElement).dataset.name ?? "";
}

/** What a form holds: a checkbox is a boolean, everything else text. */
export function formValues(form: HTMLFormElement | null): Values {
  if (!form) return {};
  const own = controlsOf(form).filter((control) => control.form === form && isChosen(control));
  return nestedValues(own.map((control) => [nameOf(control), valueIn(control)] as const));
}

export function valueIn(control: Control): string | boolean {
  return control.type === "checkbox" && "checked" in control ? control.checked : control.value;
}

function isChosen(control: Control): boolean {
  return control.type !== "radio" || !("checked" in control) || control.checked;
}
