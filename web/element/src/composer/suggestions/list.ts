import { el, freshId } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { fit } from "../../ui/popup.js";
import { grouped, type Suggestion } from "./suggestion.js";

/**
 * The list above the message box. The focus stays in the box, which names the active option by `aria-activedescendant`.
 * The box has no `aria-expanded`, because HTML gives a <textarea> the role `textbox`, which does not allow it.
 */
export class SuggestionList {
  readonly #listbox = el("div", {
    id: freshId("suggestions"),
    class: "composer-menu-list",
    role: "listbox",
    // A scrolling element must be focusable. Tab never reaches the list, because it closes the list first.
    tabindex: 0,
  });
  readonly #note = el("p", { class: "composer-menu-note", hidden: true });
  readonly node = el("div", { class: "composer-menu", hidden: true }, this.#listbox, this.#note);
  #suggestions: Suggestion[] = [];
  #options: HTMLElement[] = [];
  #active = -1;

  /** @param box the message box @param onChosen called with the suggestion that the person pressed */
  constructor(
    private readonly box: HTMLTextAreaElement,
    private readonly onChosen: (suggestion: Suggestion) => void,
  ) {
    box.setAttribute("aria-autocomplete", "list");
    box.setAttribute("aria-haspopup", "listbox");
    // Pressing the list does not take the focus from the box.
    this.node.addEventListener("pointerdown", (event) => event.preventDefault());
    this.node.addEventListener("mousedown", (event) => event.preventDefault());
  }

  get isOpen(): boolean {
    return !this.node.hidden;
  }

  get active(): Suggestion | null {
    return this.#suggestions[this.#active] ?? null;
  }

  /**
   * @param active the place of the active suggestion; the first one is active where it is too large @param note the
   * last line
   */
  show(label: string, suggestions: readonly Suggestion[], active: number, note: string | null): void {
    const groups = grouped(suggestions);
    this.#suggestions = groups.flatMap((group) => group.suggestions);
    this.#options = this.#suggestions.map((suggestion) => this.#option(suggestion));
    let at = 0;
    this.#listbox.replaceChildren(
      ...groups.map((group) => {
        const own = this.#options.slice(at, at + group.suggestions.length);
        at += own.length;
        const heading = el("div", { class: "composer-menu-group", "aria-hidden": "true" }, group.label);
        return el("div", { role: "group", "aria-label": group.label }, group.label !== undefined && heading, ...own);
      }),
    );
    this.#listbox.setAttribute("aria-label", label);
    this.#listbox.hidden = this.#options.length === 0;
    this.#note.textContent = note;
    this.#note.hidden = note === null;
    this.node.hidden = false;
    this.box.setAttribute("aria-controls", this.#listbox.id);
    fit(this.node, this.node.parentElement);
    this.#activate(active < this.#options.length ? active : 0);
  }

  move(by: number): void {
    const count = this.#options.length;
    if (count > 0) this.#activate((this.#active + by + count) % count);
  }

  get activeIndex(): number {
    return this.#active;
  }

  hide(): void {
    this.node.hidden = true;
    this.#suggestions = [];
    this.#options = [];
    this.#listbox.replaceChildren();
    this.box.removeAttribute("aria-controls");
    this.#activate(-1);
  }

  #activate(at: number): void {
    this.#active = at;
    for (const [index, option] of this.#options.entries()) option.setAttribute("aria-selected", String(index === at));
    const active = this.#options[at];
    if (active) this.box.setAttribute("aria-activedescendant", active.id);
    else this.box.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  #option(suggestion: Suggestion): HTMLElement {
    const { label, description } = suggestion;
    const words = [
      el("span", { class: "composer-choice-label" }, label),
      description && el("span", { class: "composer-choice-more" }, description),
    ];
    const sign = suggestion.icon ? icon(suggestion.icon) : null;
    const attributes = { id: freshId("option"), class: "composer-choice", role: "option", "aria-selected": "false" };
    const on = { click: () => this.onChosen(suggestion) };
    return el("div", { ...attributes, on }, sign, el("span", { class: "composer-choice-words" }, ...words));
  }
}
