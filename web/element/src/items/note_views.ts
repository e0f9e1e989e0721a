import { renderMarkdown } from "../markdown/view.js";
import type { LocalItem, Shown } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";

type Local<Type extends LocalItem["type"]> = Extract<LocalItem, { readonly type: Type }>;

export function errorView(item: Local<"error">, context: ViewContext): ItemView {
  const canRetry = item.canRetry && (item.again !== null || context.actions.canRetry);
  const { failed, timedOut, failedLost } = context.texts.items;
  const reason = { timeout: timedOut, lost: failedLost, failed }[item.reason ?? "failed"];
  return { node: problem(item.message || reason, item, canRetry, context) };
}

export function unansweredView(item: Local<"unanswered">, context: ViewContext): ItemView {
  return { node: problem(context.texts.items.unanswered, item, true, context) };
}

export function stoppedView({ texts }: ViewContext): ItemView {
  return { node: el("p", { class: "marker" }, icon("square"), texts.items.stopped) };
}

export function noticeView({ level, title, message }: Local<"notice">, context: ViewContext): ItemView {
  const look = level === "warning" || level === "danger" ? level : "info";
  const body = el("div", {}, title ? el("strong", {}, title) : null, renderMarkdown(message, context));
  const mark = icon(look === "info" ? "info" : "warning");
  return { node: el("div", { class: `notice ${look}`, role: "note" }, mark, body) };
}

function problem(text: string, item: Shown, canRetry: boolean, { texts, actions }: ViewContext): HTMLElement {
  const press = async () => {
    button.disabled = true;
    if (!(await actions.retry(item))) button.disabled = false;
  };
  const button = el(
    "button",
    { type: "button", class: "button secondary", on: { click: () => void press() } },
    texts.items.retry,
  );
  return el("div", { class: "problem", role: "alert" }, icon("warning"), el("p", {}, text), canRetry && button);
}
