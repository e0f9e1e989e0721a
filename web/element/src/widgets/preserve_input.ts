import { type Control, controlsOf, nameOf } from "./form.js";

/**
 * Draws a widget again and keeps the person's input: the changed values of controls, the focus, and the selection.
 * Controls are recognised by name, and those with the same name by their order.
 */
export function preserveInput(frame: HTMLElement, redraw: () => void): void {
  const changed = new Map(keyed(frame).filter(([, control]) => isChanged(control)));
  const focus = focusIn(frame);
  redraw();
  for (const [key, control] of keyed(frame)) {
    const before = changed.get(key);
    if (before && before.type === control.type) copyValue(before, control);
  }
  if (focus) restoreFocus(frame, focus);
}

function keyed(frame: HTMLElement): (readonly [key: string, control: Control])[] {
  const seen = new Map<string, number>();
  return controlsOf(frame).map((control) => {
    const name = `${nameOf(control)} ${control.type === "radio" ? control.value : ""}`;
    const count = seen.get(name) ?? 0;
    seen.set(name, count + 1);
    return [`${name} ${count}`, control] as const;
  });
}

function isChanged(control: Control): boolean {
  if (control instanceof HTMLSelectElement) {
    const initial = [...control.options].find((option) => option.defaultSelected) ?? control.options[0];
    return control.value !== (initial?.value ?? "");
  }
  if (isBox(control)) return control.checked !== control.defaultChecked;
  return control.value !== control.defaultValue;
}

function copyValue(before: Control, after: Control): void {
  if (isBox(before) && isBox(after)) after.checked = before.checked;
  else if (!(after instanceof HTMLSelectElement) || hasOption(after, before.value)) after.value = before.value;
  // What is shown in the place of the control follows it.
  after.dispatchEvent(new Event("restored"));
}

function isBox(control: Control): control is HTMLInputElement {
  return control.type === "checkbox" || control.type === "radio";
}

function hasOption(select: HTMLSelectElement, value: string): boolean {
  return [...select.options].some((option) => option.value === value);
}

interface Focus {
  readonly key: string | undefined;
  readonly path: readonly number[];
  readonly tag: string;
  readonly text: string;
  readonly selection: readonly [number, number] | null;
}

function focusIn(frame: HTMLElement): Focus | null {
  const root = frame.getRootNode();
  const active = root instanceof Document || root instanceof ShadowRoot ? root.activeElement : null;
  if (!active || !frame.contains(active)) return null;
  const key = keyed(frame).find(([, control]) => control === active)?.[0];
  return {
    key,
    path: pathTo(frame, active),
    tag: active.tagName,
    text: active.textContent ?? "",
    selection: selectionOf(active),
  };
}

function pathTo(frame: Element, element: Element): number[] {
  const path: number[] = [];
  for (let at = element; at !== frame && at.parentElement; at = at.parentElement) {
    path.unshift([...at.parentElement.children].indexOf(at));
  }
  return path;
}

function selectionOf(element: Element): readonly [number, number] | null {
  if (!(element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement)) return null;
  const { selectionStart: start, selectionEnd: end } = element;
  return start === null || end === null ? null : [start, end];
}

/** Focuses the same control, or an element in the same place or with the same text, or else the widget. */
function restoreFocus(frame: HTMLElement, { key, path, tag, text, selection }: Focus): void {
  const named = key && keyed(frame).find(([other]) => other === key)?.[1];
  const placed = path.reduce<Element | undefined>((at, index) => at?.children[index], frame);
  const alike = [...frame.querySelectorAll<HTMLElement>(tag)].find((element) => element.textContent === text);
  const found = named || (placed?.tagName === tag ? (placed as HTMLElement) : alike) || focusable(frame);
  found.focus({ preventScroll: true });
  if (selection && (found instanceof HTMLInputElement || found instanceof HTMLTextAreaElement)) {
    if (found.selectionStart !== null) found.setSelectionRange(...selection);
  }
}

function focusable(frame: HTMLElement): HTMLElement {
  frame.tabIndex = -1;
  return frame;
}
