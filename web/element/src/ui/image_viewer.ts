import type { Texts } from "../texts/index.js";
import { el, freshId } from "./dom.js";
import { icon } from "./icons.js";
import { picture } from "./images.js";
import type { OpenImage } from "./view_context.js";

/**
 * Shows an image over the whole page. The browser keeps the focus inside, closes it with Escape and gives the focus
 * back to what opened it.
 */
export class ImageViewer {
  readonly node = el("dialog", { class: "viewer" });

  constructor(private readonly texts: () => Texts) {
    // A click beside the image and the buttons closes it.
    this.node.addEventListener("click", ({ target }) => {
      if (target === this.node) this.node.close();
    });
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.node.addEventListener("close", () => this.node.replaceChildren());
  }

  show({ name, source }: OpenImage): void {
    const { openInTab, save, close } = this.texts().items;
    const id = freshId("viewer");
    const shared = { href: source, class: "button secondary", target: "_blank", rel: "noopener noreferrer" };
    const closing = el(
      "button",
      { type: "button", class: "icon-button", "aria-label": close, title: close },
      icon("close"),
    );
    closing.addEventListener("click", () => this.node.close());
    this.node.setAttribute("aria-labelledby", id);
    this.node.replaceChildren(
      el(
        "div",
        { class: "viewer-bar" },
        el("h2", { id, class: "viewer-name" }, name),
        // Browsers open no data address in a tab of its own.
        !source.startsWith("data:") && el("a", shared, openInTab),
        el("a", { ...shared, download: name }, save),
        closing,
      ),
      picture(source, { alt: name, class: "viewer-image" }),
    );
    this.node.showModal();
    closing.focus();
  }

  /** Keeps Tab inside: past the last control it would go to the browser's own. */
  #key(event: KeyboardEvent): void {
    if (event.key !== "Tab") return;
    const controls = [...this.node.querySelectorAll<HTMLElement>("a, button")];
    const at = controls.findIndex((control) => control.matches(":focus"));
    const to = (at + (event.shiftKey ? -1 : 1) + controls.length) % controls.length;
    event.preventDefault();
    controls[to]?.focus();
  }
}

/** Has the browser fetch a file. The page stays, because the server says that the file is to be saved. */
export function save(address: string, name: string): void {
  el("a", { href: address, download: name, target: "_blank", rel: "noopener noreferrer" }).click();
}
