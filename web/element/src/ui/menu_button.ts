import { el, freshId } from "./dom.js";
import { icon } from "./icons.js";
import { fit } from "./popup.js";

/** A choice in a menu, of which at most one is checked. */
export interface Choice {
  readonly id: string;
  readonly label: string;
  readonly description?: string | undefined;
  readonly icon?: string | undefined;
  readonly disabled?: boolean | undefined;
  readonly checked: boolean;
}

export interface MenuLook {
  /** The button's accessible name. */
  readonly name: string;
  /** The content of the button. */
  readonly face: readonly (Node | string)[];
  readonly menuName: string;
  readonly choices: readonly Choice[];
}

/** A button with a menu above the message box. */
export class MenuButton {
  readonly #menu = el("div", { id: freshId("menu"), class: "composer-menu", role: "menu", hidden: true });
  readonly #button = el("button", { type: "button", "aria-haspopup": "menu", "aria-expanded": "false" });
  readonly node = el("span", { class: "composer-part" }, this.#button, this.#menu);

  /** @param className the button's @param onChosen called with a choice that is not disabled */
  constructor(
    className: string,
    private readonly onChosen: (id: string) => void,
  ) {
    this.#button.className = className;
    this.#button.setAttribute("aria-controls", this.#menu.id);
    this.#button.addEventListener("click", () => (this.isOpen ? this.close() : this.#open()));
    this.#button.addEventListener("keydown", (event) => this.#buttonKey(event));
    this.#menu.addEventListener("keydown", (event) => this.#menuKey(event));
    this.node.addEventListener("focusout", ({ relatedTarget }) => {
      if (!(relatedTarget instanceof Node && this.node.contains(relatedTarget))) this.close();
    });
  }

  get isOpen(): boolean {
    return !this.#menu.hidden;
  }

  show({ name, face, menuName, choices }: MenuLook): void {
    this.#button.replaceChildren(...face);
    this.#button.setAttribute("aria-label", name);
    this.#menu.setAttribute("aria-label", menuName);
    this.#menu.replaceChildren(...choices.map((choice) => this.#item(choice)));
  }

  close(): void {
    this.#menu.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
  }

  focus(): void {
    this.#button.focus();
  }

  #open(): void {
    this.#menu.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    fit(this.#menu, this.node.closest(".composer-box"));
    const items = this.#items();
    (items.find((item) => item.getAttribute("aria-checked") === "true") ?? items[0])?.focus();
  }

  #items(): HTMLElement[] {
    return [...this.#menu.querySelectorAll<HTMLElement>("[role=menuitemradio]")];
  }

  #item({ id, label, description, icon: sign, disabled, checked }: Choice): HTMLElement {
    const words = [
      el("span", { class: "composer-choice-label" }, label),
      description && el("span", { class: "composer-choice-more" }, description),
    ];
    const choose = () => {
      if (disabled) return;
      this.close();
      this.onChosen(id);
    };
    return el(
      "button",
      {
        type: "button",
        class: "composer-choice",
        role: "menuitemradio",
        tabindex: -1,
        "aria-checked": String(checked),
        "aria-disabled": disabled ? "true" : null,
        on: { click: choose },
      },
      sign ? icon(sign) : null,
      el("span", { class: "composer-choice-words" }, ...words),
      checked && icon("check"),
    );
  }

  #buttonKey(event: KeyboardEvent): void {
    if (this.isOpen || (event.key !== "ArrowDown" && event.key !== "ArrowUp")) return;
    event.preventDefault();
    this.#open();
  }

  #menuKey(event: KeyboardEvent): void {
    const items = this.#items();
    const at = items.findIndex((item) => item.matches(":focus"));
    const to = placeAfter(event.key, at, items.length);
    if (event.key === "Escape") this.focus();
    if (event.key === "Escape" || event.key === "Tab") this.close();
    if (to !== null) items[to]?.focus();
    if (to === null && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function placeAfter(key: string, at: number, count: number): number | null {
  if (key === "ArrowDown") return (at + 1) % count;
  if (key === "ArrowUp") return (at - 1 + count) % count;
  if (key === "Home") return 0;
  return key === "End" ? count - 1 : null;
}
