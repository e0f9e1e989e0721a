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

  /** Shows a text for some seconds, and has it said. */
  toast(text) {
    const toast = el("div", { class: "toast" }, text);
    this.toasts.append(toast);
    this.say(text);
    setTimeout(() => toast.remove(), TOAST_MS);
  }
}
