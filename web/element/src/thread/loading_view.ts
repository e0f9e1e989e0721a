import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import type { Opening } from "./open_thread.js";

/** The widths of the lines that stand for a question and its answer, in per cent. */
const LINES = [45, 100, 92, 70];

/** The place of a thread that is being loaded, and the reason where that takes longer. */
export class LoadingView {
  readonly #words = el("p", { class: "muted" });
  readonly node = el(
    "div",
    { id: "loading", class: "loading", role: "status", hidden: true },
    el(
      "div",
      { class: "skeleton", "aria-hidden": "true" },
      ...LINES.map((width) => el("span", { class: `w${width}` })),
    ),
    this.#words,
  );

  show(opening: Opening | null, isOffline: boolean, { shell }: Texts): void {
    this.node.hidden = opening === null;
    if (opening === null) return;
    const words = isOffline ? shell.loadingOffline : opening.isUnreached ? shell.loadingUnreached : shell.loading;
    // An unchanged text is not set again, because a screen reader would say it again.
    if (this.#words.textContent !== words) this.#words.textContent = words;
  }
}
