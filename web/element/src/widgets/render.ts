import type { WidgetAction, WidgetNode } from "../server/protocol.js";
import { el, freshId } from "../ui/dom.js";
import { drawnPart } from "../ui/undrawn.js";
import { COMPONENTS, otherComponent } from "./components.js";
import { type DrawContext, type Loading, type Trigger, type WidgetHost, WidgetMemory } from "./context.js";
import { childrenOf, isFields, token, words } from "./fields.js";
import { formValues, withValues } from "./form.js";
import { focusFirst, linkLabels } from "./labels.js";
import { preserveInput } from "./preserve_input.js";
import { textChanges } from "./text_changes.js";

/** The deepest component that is drawn, because browsers fail to lay out much deeper ones. */
const MAX_DEPTH = 50;

/**
 * The view of a widget, which follows its changes. A growing text is changed in place. After any other change the
 * widget is drawn again and keeps the person's input, the focus, and the open parts. An unknown component is shown by
 * its children, its text, or its name. A component that cannot be drawn leaves the others untouched.
 */
export class WidgetView {
  readonly node = el("div", { class: "widget" });
  readonly #memory = new WidgetMemory();
  readonly #prefix = freshId("widget");
  /** The actions that are being performed, with the place of the part that each makes busy. */
  readonly #busy = new Map<string, string>();
  #root: WidgetNode;

  constructor(
    root: WidgetNode,
    private readonly host: WidgetHost,
  ) {
    this.#root = root;
    this.#draw();
    if (host.autoFocus) queueMicrotask(() => focusFirst(this.node));
  }

  update(root: WidgetNode): void {
    if (root === this.#root) return;
    const { growing } = this.#memory;
    const changes = textChanges(this.#root, root);
    this.#root = root;
    if (changes?.every(({ path }) => growing.has(path))) {
      for (const { path, value } of changes) growing.get(path)?.(value);
    } else {
      preserveInput(this.node, () => this.#draw());
    }
  }

  #draw(): void {
    this.#memory.growing.clear();
    this.node.replaceChildren(this.#component(this.#root, "", 0));
    linkLabels(this.node);
    this.#showBusy();
    if (this.host.act) return;
    for (const control of this.node.querySelectorAll<HTMLInputElement>("button, input, select, textarea")) {
      control.disabled = true;
    }
  }

  #component(node: unknown, path: string, depth: number): Node {
    if (!isFields(node)) return document.createTextNode(words(node));
    if (depth >= MAX_DEPTH) return document.createTextNode("…");
    const draw = COMPONENTS.get(token(node.type) ?? words(node.type)) ?? otherComponent;
    const inside = (child: unknown, index: number) => this.#component(child, `${path}.${index}`, depth + 1);
    const context: DrawContext = {
      host: this.host,
      texts: this.host.texts.items,
      memory: this.#memory,
      prefix: this.#prefix,
      path,
      draw: inside,
      children: (parent) => childrenOf(parent).map(inside),
      act: (action, trigger) => void this.#act(action, trigger),
      ignored: this.#ignored,
    };
    const drawn = drawnPart("component", this.host, () => draw(node, context));
    if (drawn instanceof HTMLElement) drawn.dataset.place = path;
    return drawn;
  }

  /** Performs an action. The part that it makes busy performs no other until it is done. */
  async #act(action: WidgetAction, { source, auto, form = null }: Trigger): Promise<void> {
    const { act } = this.host;
    if (!act || source.closest('[aria-busy="true"]')) return;
    const payload = withValues(action.payload, formValues(form), this.#ignored);
    const path = this.#busyPath(action.loadingBehavior, auto, source);
    if (path === null) return await act({ ...action, payload });
    // the control may stand elsewhere by now, for the same action
    const key = JSON.stringify([action.type, payload]);
    if (this.#busy.has(key)) return;
    this.#busy.set(key, path);
    this.#showBusy();
    try {
      await act({ ...action, payload });
    } finally {
      this.#busy.delete(key);
      this.#showBusy();
    }
  }

  readonly #ignored = (name: string): void => {
    const error = new Error(`The field "${name}" is not sent: the action's payload has that name itself.`);
    this.host.emit("chatkit.error", { error });
  };

  /** The place of the part that is busy meanwhile: that of the whole widget is empty. Null: none is. */
  #busyPath(behavior: WidgetAction["loadingBehavior"], auto: Loading, source: HTMLElement): string | null {
    const loading = behavior === "none" || behavior === "self" || behavior === "container" ? behavior : auto;
    if (loading === "none") return null;
    return loading === "self" ? (source.closest<HTMLElement>("[data-place]")?.dataset.place ?? "") : "";
  }

  /** Shows which parts are busy, also after a redrawing, and while more than one action is performed. */
  #showBusy(): void {
    const parts = new Set([...this.#busy.values()].map((path) => this.#partAt(path)));
    for (const part of [this.node, ...this.node.querySelectorAll<HTMLElement>("[aria-busy]")]) {
      if (part.hasAttribute("aria-busy")) setBusy(part, false);
    }
    for (const part of parts) setBusy(part, true);
  }

  #partAt(path: string): HTMLElement {
    const part = path === "" ? null : this.node.querySelector<HTMLElement>(`[data-place="${path}"]`);
    return part ?? this.node;
  }
}

/** Disables the buttons of a part while it is busy, without moving the focus. */
function setBusy(part: HTMLElement, busy: boolean): void {
  part.setAttribute("aria-busy", String(busy));
  for (const button of [part, ...part.querySelectorAll("button")]) {
    if (button.localName !== "button") continue;
    if (busy) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  }
}

/** Draws a widget that does not change. */
export function renderWidget(root: WidgetNode, host: WidgetHost): HTMLElement {
  return new WidgetView(root, host).node;
}
