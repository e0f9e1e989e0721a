import { type AssistantMessage, type Feedback, textOf } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ViewContext } from "../ui/view_context.js";

/** The buttons of a finished answer. Of one that the server does not have, Copy alone. */
export class AnswerTools {
  readonly node = el("div", { class: "answer-tools" });
  readonly #thumbs: ReadonlyMap<Feedback, HTMLButtonElement>;
  readonly #again: HTMLButtonElement;

  constructor(
    private readonly current: () => AssistantMessage,
    private readonly context: ViewContext,
  ) {
    const { texts, options } = context;
    const { feedback, retry } = options.threadItemActions ?? {};
    const copied = () => textOf(current().content, "\n\n");
    this.#thumbs = new Map<Feedback, HTMLButtonElement>([
      ["positive", this.#thumb("positive", "thumb-up", texts.items.good)],
      ["negative", this.#thumb("negative", "thumb-down", texts.items.bad)],
    ]);
    this.#again = toolButton("reload", texts.items.regenerate, () => this.#regenerate());
    this.node.append(copyButton(texts.items.copy, copied, context));
    if (feedback) this.node.append(...this.#thumbs.values());
    if (retry) this.node.append(this.#again);
  }

  /** Shows the newest feedback, and only what the server can do. */
  update(isOpen: boolean): void {
    const { id, broken = false } = this.current();
    const given = this.context.feedbackOf(id);
    this.node.hidden = isOpen;
    this.#again.hidden = broken;
    for (const [kind, button] of this.#thumbs) {
      button.hidden = broken;
      button.setAttribute("aria-pressed", String(kind === given));
    }
  }

  #thumb(kind: Feedback, name: string, label: string): HTMLButtonElement {
    return toolButton(name, label, async () => {
      if (await this.context.actions.feedback(this.current(), kind)) this.update(false);
    });
  }

  async #regenerate(): Promise<void> {
    this.#again.disabled = true;
    if (await this.context.actions.regenerate(this.current())) return;
    this.#again.disabled = false;
    // A disabled button has lost the focus, and a dialog cannot give it back.
    this.#again.focus();
  }
}

export function copyButton(label: string, copied: () => string, { texts, announcer }: ViewContext): HTMLElement {
  return toolButton("copy", label, async () => {
    try {
      await navigator.clipboard.writeText(copied());
      announcer.toast(texts.items.copied);
    } catch {
      announcer.toast(texts.items.copyFailed);
    }
  });
}

export function toolButton(name: string, label: string, press: () => Promise<void>): HTMLButtonElement {
  const attributes = { type: "button", class: "icon-button small", "aria-label": label, title: label };
  return el("button", { ...attributes, on: { click: () => void press() } }, icon(name));
}
