import { el } from "./dom.js";

const TOAST_MS = 6_000;

/** Short messages for the eye, and finished things for the ear. */
export class Announcer {
  /** @param {{live: HTMLElement, toasts: HTMLElement}} places a polite live region, and where toasts stack */
  constructor({ live, toasts }) {
    this.live = live;
    this.toasts = toasts;
  }

  /** Has a screen reader say a text when it is idle. */
  say(text) {
    this.live.replaceChildren(el("p", {}, text));
  }

  /** Shows a text or an element for some seconds, and has it said. One that is being used stays. */
  toast(content) {
    const toast = el("div", { class: "toast" }, content);
    this.toasts.append(toast);
    this.say(toast.textContent);
    const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, TOAST_MS) : toast.remove());
    setTimeout(leave, TOAST_MS);
  }
}
