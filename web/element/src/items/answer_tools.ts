import { type AssistantMessage, textOf } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ViewContext } from "../ui/view_context.js";

/** The buttons of a finished answer. */
export function answerTools(current: () => AssistantMessage, context: ViewContext): HTMLElement {
  const { texts, options, actions } = context;
  const { feedback, retry } = options.threadItemActions ?? {};
  const copied = () => textOf(current().content, "\n\n");
  const again = toolButton("reload", texts.items.regenerate, async () => {
    again.disabled = true;
    if (await actions.regenerate(current())) return;
    again.disabled = false;
    // A disabled button has lost the focus, and a dialog cannot give it back.
    again.focus();
  });
  return el(
    "div",
    { class: "answer-tools" },
    copyButton(texts.items.copy, copied, context),
    feedback && thumbs(current, context),
    retry && again,
  );
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

function thumbs(current: () => AssistantMessage, { texts, actions }: ViewContext): HTMLElement[] {
  const thumb = (kind: "positive" | "negative", name: string, label: string) => {
    const button = toolButton(name, label, async () => {
      if (!(await actions.feedback(current(), kind))) return;
      for (const one of both) one.setAttribute("aria-pressed", String(one === button));
    });
    button.setAttribute("aria-pressed", "false");
    return button;
  };
  const both = [thumb("positive", "thumb-up", texts.items.good), thumb("negative", "thumb-down", texts.items.bad)];
  return both;
}

function toolButton(name: string, label: string, press: () => Promise<void>): HTMLButtonElement {
  const attributes = { type: "button", class: "icon-button small", "aria-label": label, title: label };
  return el("button", { ...attributes, on: { click: () => void press() } }, icon(name));
}
