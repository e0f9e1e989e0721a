import { el } from "./dom.js";

/** A question before something is done that cannot be undone. */
export interface Question {
  readonly title: string;
  readonly text: string;
  readonly confirm: string;
  readonly cancel: string;
}

/** The dialog of all such questions. Cancel has the focus, and Escape cancels. */
export class Confirm {
  readonly node = el("dialog", { class: "panel dialog", "aria-labelledby": "confirm-title" });

  async ask({ title, text, confirm, cancel }: Question): Promise<boolean> {
    const button = (look: string, value: string, label: string) =>
      el("button", { class: `button ${look}`, value }, label);
    const no = button("secondary", "cancel", cancel);
    this.node.replaceChildren(
      el(
        "form",
        { method: "dialog" },
        el("h2", { id: "confirm-title" }, title),
        el("p", {}, text),
        el("div", { class: "dialog-buttons" }, no, button("danger", "confirm", confirm)),
      ),
    );
    this.node.returnValue = "cancel";
    this.node.showModal();
    no.focus();
    await new Promise((resolve) => this.node.addEventListener("close", resolve, { once: true }));
    return this.node.returnValue === "confirm";
  }
}
