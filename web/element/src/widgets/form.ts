import { isFields } from "./fields.js";

type Values = Record<string, unknown>;

/** The values under their names. `a.b` nests, and of two values with one name the later wins. */
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

/** Sets an own property, also for a name such as `__proto__`. */
function define(place: Values, name: string, value: unknown): void {
  Object.defineProperty(place, name, { value, configurable: true, enumerable: true, writable: true });
}

/**
 * An action's payload with its form's values. What the payload has itself stays; `ignored` hears the name of a value
 * that it has too.
 */
export function withValues(payload: unknown, values: Values, ignored: (name: string) => void): unknown {
  if (Object.keys(values).length === 0) return payload ?? null;
  if (payload !== undefined && payload !== null && !isFields(payload)) return values;
  const merged: Values = {};
  for (const [name, value] of Object.entries(payload ?? {})) define(merged, name, value);
  for (const [name, value] of Object.entries(values)) {
    const own = Object.hasOwn(merged, name) ? merged[name] : undefined;
    if (own === undefined) {
      define(merged, name, value);
    } else if (isFields(own) && isFields(value)) {
      define(
        merged,
        name,
        withValues(own, value as Values, (inner) => ignored(`${name}.${inner}`)),
      );
    } else {
      ignored(name);
    }
  }
  return merged;
}

export type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/**
 * Gives a control the name that the widget has for it, under a prefix of its own in the form. Without the prefix a
 * field named `style` would hide `form.style`, and radios of two widgets with the same name would form one group.
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

/** The values of a form. A checkbox gives a boolean, and every other control gives text. */
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
