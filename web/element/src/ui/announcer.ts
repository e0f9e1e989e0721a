import { el } from "./dom.js";

const TOAST_MS = 6_000;

/** Short messages for the eye, and finished things for the ear. */
export class Announcer {
  /** @param live a polite live region @param toasts where toasts stack */
  constructor(
    private readonly live: HTMLElement,
    private readonly toasts: HTMLElement,
  ) {}

  /** Has a screen reader say a text when it is idle. */
  say(text: string): void {
    this.live.replaceChildren(el("p", {}, text));
  }

  /** Shows a text for some seconds, and has it said. One that is being used stays. */
  toast(content: string | Node): void {
    const toast = el("div", { class: "toast" }, content);
    this.toasts.append(toast);
    this.say(toast.textContent ?? "");
    const leave = () => {
      if (toast.matches(":hover, :focus-within")) setTimeout(leave, TOAST_MS);
      else toast.remove();
    };
    setTimeout(leave, TOAST_MS);
  }
}
