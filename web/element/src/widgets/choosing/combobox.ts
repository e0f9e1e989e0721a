import { el, freshId } from "../../ui/dom.js";
import { keepPlace, placeBeside } from "../../ui/popup.js";
import { standIn } from "./stand_in.js";

interface Choice {
  readonly value: string;
  readonly label: string;
  readonly disabled: boolean;
}

/** The words around the box. */
export interface ComboboxTexts {
  readonly name: string;
  readonly placeholder: string;
  readonly nothingFound: string;
}

/**
 * A select whose options are searched by typing (the pattern "Editable Combobox With List Autocomplete" of the ARIA
 * Authoring Practices Guide). The value is in the native select, which the form and the redrawing know.
 */
export class Combobox {
  readonly node: HTMLElement;
  readonly #box: HTMLInputElement;
  readonly #list = el("div", { id: freshId("choices"), class: "w-popover w-choices-list", role: "listbox" });
  #shown: readonly Choice[] = [];
  #active = -1;
  #stopPlacing = () => {};

  constructor(
    private readonly select: HTMLSelectElement,
    private readonly texts: ComboboxTexts,
  ) {
    this.#box = el("input", {
      type: "text",
      class: select.className,
      role: "combobox",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: texts.placeholder,
      "aria-label": texts.name,
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": this.#list.id,
    });
    this.#list.setAttribute("popover", "manual");
    this.#list.setAttribute("aria-label", texts.name);
    select.className = "unseen";
    select.tabIndex = -1;
    select.setAttribute("aria-hidden", "true");
    this.node = standIn(select, this.#box, this.#list);
    this.#box.disabled = select.disabled;
    this.#box.addEventListener("input", () => this.#open(this.#box.value));
    this.#box.addEventListener("click", () => this.#open(""));
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("blur", () => this.#leave());
    select.addEventListener("restored", () => this.#showValue());
    // Pressing the list does not take the focus from the box.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#list.addEventListener("mousedown", (event) => event.preventDefault());
    this.#showValue();
  }

  get #choices(): Choice[] {
    return [...this.select.options].map(({ value, text, disabled }) => ({ value, label: text, disabled }));
  }

  get #isOpen(): boolean {
    return this.#box.getAttribute("aria-expanded") === "true";
  }

  #open(query: string): void {
    const wanted = query.trim().toLocaleLowerCase();
    const found = this.#choices.filter(({ value }) => value !== "");
    this.#shown = found.filter(({ label }) => label.toLocaleLowerCase().includes(wanted));
    const options = this.#shown.map((choice) => this.#option(choice));
    const none = el(
      "div",
      { class: "muted w-choice", role: "option", "aria-disabled": "true" },
      this.texts.nothingFound,
    );
    this.#list.replaceChildren(...(options.length ? options : [none]));
    if (!this.#isOpen) {
      this.#box.setAttribute("aria-expanded", "true");
      this.#list.showPopover();
      this.#list.style.setProperty("min-width", `${this.#box.offsetWidth}px`);
      this.#stopPlacing = keepPlace(this.#box, () => placeBeside(this.#list, this.#box, "bottom", "start"));
    }
    const selected = this.#shown.findIndex(({ value }) => value === this.select.value);
    this.#activate(selected >= 0 ? selected : wanted === "" ? -1 : 0);
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#box.setAttribute("aria-expanded", "false");
    this.#list.hidePopover();
    this.#stopPlacing();
    this.#activate(-1);
  }

  #option(choice: Choice): HTMLElement {
    const attributes = {
      id: freshId("choice"),
      class: "w-choice",
      role: "option",
      "aria-selected": String(choice.value === this.select.value),
      "aria-disabled": choice.disabled ? "true" : null,
    };
    return el("div", { ...attributes, on: { click: () => this.#choose(choice) } }, choice.label);
  }

  #activate(at: number): void {
    this.#active = at;
    for (const [index, option] of [...this.#list.children].entries()) option.classList.toggle("active", index === at);
    const active = at < 0 ? undefined : this.#list.children[at];
    if (active?.id) this.#box.setAttribute("aria-activedescendant", active.id);
    else this.#box.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  #key(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const { key } = event;
    const count = this.#shown.length;
    if (key === "ArrowDown" || key === "ArrowUp") {
      if (!this.#isOpen) this.#open("");
      else if (count > 0) this.#activate((this.#active + (key === "ArrowDown" ? 1 : -1) + count) % count);
    } else if (key === "Enter" && this.#isOpen) {
      const choice = this.#shown[this.#active];
      if (choice) this.#choose(choice);
    } else if (key === "Escape" && this.#isOpen) {
      this.#close();
      this.#showValue();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #choose(choice: Choice): void {
    if (choice.disabled) return;
    this.#set(choice.value);
    this.#close();
  }

  /** An emptied box chooses nothing, where the select allows that. Other text that is no choice is taken back. */
  #leave(): void {
    if (this.#box.value.trim() === "" && this.#choices.some(({ value }) => value === "")) this.#set("");
    this.#close();
    this.#showValue();
  }

  #set(value: string): void {
    const isOther = value !== this.select.value;
    this.select.value = value;
    this.#showValue();
    if (isOther) this.select.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #showValue(): void {
    const chosen = this.select.selectedOptions[0];
    this.#box.value = chosen && chosen.value !== "" ? chosen.text : "";
  }
}
