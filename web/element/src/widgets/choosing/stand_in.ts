import { el, freshId } from "../../ui/dom.js";

/**
 * A control that is shown in the place of a native one, which keeps the value for the form. A label of the widget names
 * the control that is shown, and so does the focus that a browser gives to an invalid native one.
 */
export function standIn(control: HTMLElement, shown: HTMLElement, ...rest: readonly HTMLElement[]): HTMLElement {
  shown.id ||= freshId("shown");
  shown.dataset.shown = "";
  control.addEventListener("focus", () => shown.focus());
  return el("span", { class: "w-stand-in" }, control, shown, ...rest);
}

/** The control that is shown for a native one: itself, or the one that stands in for it. */
export function shownFor(control: HTMLElement): HTMLElement {
  return control.closest(".w-stand-in")?.querySelector<HTMLElement>("[data-shown]") ?? control;
}
