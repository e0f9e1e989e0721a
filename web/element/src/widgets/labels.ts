import { freshId } from "../ui/dom.js";
import { shownFor } from "./choosing/stand_in.js";
import { controlsOf, nameOf } from "./form.js";

/** Links each label of a widget to the control in its form that the label names. */
export function linkLabels(frame: HTMLElement): void {
  for (const label of frame.querySelectorAll<HTMLLabelElement>("label[data-field]")) {
    const name = label.dataset.field ?? "";
    const scope = label.closest("form") ?? frame;
    const group = [...scope.querySelectorAll<HTMLElement>("[data-group]")].find(
      ({ dataset }) => dataset.group === name,
    );
    const control = controlsOf(scope).find((one) => nameOf(one) === name);
    if (group) {
      label.id ||= freshId("label");
      group.removeAttribute("aria-label");
      group.setAttribute("aria-labelledby", label.id);
    } else if (control) {
      const shown = shownFor(control);
      shown.id ||= freshId("field");
      label.htmlFor = shown.id;
      if (shown === control || shown.localName === "input") {
        shown.removeAttribute("aria-label");
      } else {
        // A button's name is the label and what it shows.
        label.id ||= freshId("label");
        shown.setAttribute("aria-labelledby", `${label.id} ${shown.id}`);
      }
    }
  }
}

/** Focuses the control that asks for the focus, unless the person is writing elsewhere. */
export function focusFirst(frame: HTMLElement): void {
  const wanted = frame.querySelector<HTMLElement>("[data-autofocus]");
  const root = frame.getRootNode();
  if (!wanted || !(root instanceof Document || root instanceof ShadowRoot)) return;
  const active = root.activeElement;
  const isWriting =
    (active instanceof HTMLTextAreaElement || active instanceof HTMLInputElement) && active.value !== "";
  if (!isWriting) wanted.focus({ preventScroll: true });
}
