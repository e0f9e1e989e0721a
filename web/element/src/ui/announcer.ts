import { el } from "./dom.js";

const TOAST_MS = 6_000;

/** Short messages that are shown, and news that a screen reader says. */
export class Announcer {
  readonly live = el("div", { id: "live", class: "unseen", role: "status", "aria-live": "polite" });
  readonly toasts = el("div", { id: "toasts", class: "toasts" });

  /** Has a screen reader say the text once it is idle. */
  say(text: string): void {
    this.live.replaceChildren(el("p", {}, text));
  }

  /** Shows a message for some seconds and has it said. A message that the person points at or focuses stays. */
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
