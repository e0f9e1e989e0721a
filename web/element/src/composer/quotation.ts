import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";

/** The quotation that the next message answers. */
export class Quotation {
  readonly #words = el("blockquote", { class: "composer-quote-words" });
  readonly #remove = el("button", { type: "button", class: "icon-button small" }, icon("close"));
  readonly node = el("div", { class: "composer-quote", role: "group", hidden: true }, this.#words, this.#remove);

  /** @param onRemoved called when the person has removed the quotation */
  constructor(texts: Texts, onRemoved: () => void) {
    this.setTexts(texts);
    this.#remove.addEventListener("click", () => {
      this.text = null;
      onRemoved();
    });
  }

  setTexts({ composer }: Texts): void {
    this.node.setAttribute("aria-label", composer.quoted);
    this.#remove.setAttribute("aria-label", composer.removeQuote);
  }

  get text(): string | null {
    return this.#words.textContent || null;
  }

  set text(text: string | null) {
    this.#words.textContent = text;
    this.node.hidden = !text;
  }
}
