import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

/** The notes and buttons that the composer always has, shown or hidden. */
export class ComposerFrame {
  /** The reason why no message can be sent. */
  readonly note = el("p", { id: "composer-note", class: "composer-note", hidden: true });
  readonly keys = el("span", { id: "keys", class: "keys" });
  readonly file = el("input", { id: "file", type: "file", multiple: true, hidden: true });
  readonly attach = el("button", { id: "attach", type: "button", class: "icon-button" }, icon("attach"));
  readonly mention = el("button", { id: "mention", type: "button", class: "icon-button" }, "@");
  readonly send = el("button", { id: "send", type: "submit", class: "icon-button send", disabled: true }, icon("send"));
  readonly #stopWord = el("span");
  readonly stop = el(
    "button",
    { id: "stop", type: "button", class: "button secondary stop", hidden: true },
    icon("square"),
    this.#stopWord,
  );

  setTexts({ composer }: Texts): void {
    this.keys.textContent = composer.keys;
    this.#stopWord.textContent = composer.stop;
    this.#name(this.attach, composer.attach);
    this.#name(this.mention, composer.mention);
    this.#name(this.send, composer.send);
  }

  /** The file types that the file dialog offers; null for all. */
  set accept(types: string | null) {
    if (types === null) this.file.removeAttribute("accept");
    else this.file.accept = types;
  }

  #name(button: HTMLButtonElement, name: string): void {
    button.setAttribute("aria-label", name);
    button.title = name;
  }
}
