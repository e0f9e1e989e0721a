import type { ChatKitOptions } from "@openai/chatkit";
import type { ThreadStatus } from "../server/protocol.js";
import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { headerIconName } from "./header_icon_name.js";

/** The current options and texts of the element, and the actions of the header's buttons. */
export interface HeaderHost {
  readonly options: () => ChatKitOptions;
  readonly texts: () => Texts;
  readonly toggleHistory: () => void;
  readonly newThread: () => void;
}

/**
 * The bar above the conversation: the thread's title, the button for the list of threads, and the site's two buttons.
 */
export class Header {
  readonly #menu = el("button", {
    id: "menu",
    class: "icon-button menu-button",
    type: "button",
    "aria-controls": "sidebar",
    "aria-expanded": "false",
  });
  readonly #compose = el("button", { class: "icon-button", type: "button" }, icon("compose"));
  readonly #title = el("h2", { id: "title", class: "title" });
  readonly #status = el("span", { id: "thread-status", class: "w-badge w-secondary", hidden: true });
  readonly #left = el("span", { class: "bar-action" });
  readonly #right = el("span", { class: "bar-action" });
  readonly node = el(
    "header",
    { class: "bar" },
    this.#menu,
    this.#left,
    this.#title,
    this.#status,
    el("slot", { name: "header" }),
    el("span", { class: "w-spacer" }),
    this.#compose,
    this.#right,
  );

  constructor(private readonly host: HeaderHost) {
    this.#menu.append(icon("menu"));
    this.#menu.addEventListener("click", () => host.toggleHistory());
    this.#compose.addEventListener("click", () => host.newThread());
    this.setOptions();
  }

  setOptions(): void {
    const { header } = this.host.options();
    const { shell } = this.host.texts();
    this.node.hidden = header?.enabled === false;
    this.#title.hidden = header?.title?.enabled === false;
    this.#menu.setAttribute("aria-label", shell.history);
    this.#compose.setAttribute("aria-label", shell.newChat);
    this.#compose.title = shell.newChat;
    this.#left.replaceChildren(...action(header?.leftAction, shell));
    this.#right.replaceChildren(...action(header?.rightAction, shell));
  }

  show(title: string, status: ThreadStatus): void {
    this.#title.textContent = this.host.options().header?.title?.text ?? title;
    this.#status.hidden = status.type === "active";
    const { lockedMark, closedMark } = this.host.texts().shell;
    this.#status.textContent = status.type === "locked" ? lockedMark : closedMark;
  }

  showHistory(isThere: boolean, isOpen: boolean): void {
    this.#menu.hidden = !isThere;
    this.#menu.setAttribute("aria-expanded", String(isOpen));
    // An open list of threads has its own button for a new thread.
    this.#compose.hidden = isThere && isOpen;
  }

  focusMenu(): void {
    this.#menu.focus();
  }
}

/** A button of the site's. `label` is its name, which ChatKit's options do not have. */
type Action = NonNullable<NonNullable<ChatKitOptions["header"]>["leftAction"]> & { readonly label?: string };

function action(given: Action | undefined, shell: Texts["shell"]): HTMLElement[] {
  if (given === undefined) return [];
  const name = given.label || headerIconName(given.icon, shell);
  const attributes = {
    class: "icon-button",
    type: "button",
    "aria-label": name,
    title: name,
    on: { click: () => given.onClick() },
  };
  return [el("button", attributes, icon(given.icon))];
}
