import { el, externalLink, safeImageSource } from "./dom.js";
import { icon } from "./icons.js";
import { MarkdownView, renderMarkdown } from "./markdown.js";
import { structuredInputView } from "./structured_input_view.js";
import { renderWidget } from "./widgets.js";
import { taskView, workflowView } from "./workflow_view.js";

/**
 * One function a type of item: (item, context) -> {node, update?(item, open)}.
 *
 * Without `update` an item that changes is drawn anew. `context` has `commands`, `imageDomains` and `open`.
 */
export const ITEM_VIEWS = {
  user_message: userMessage,
  assistant_message: assistantMessage,
  widget: (item, { commands }) => ({
    node: entry("assistant", "Assistant, widget", renderWidget(item.widget, (action) => commands.action(item, action))),
  }),
  client_tool_call: clientToolCall,
  generated_image: generatedImage,
  structured_input: structuredInputView,
  workflow: workflowView,
  task: (item, context) => ({ node: entry("assistant", "Assistant, task", taskView(item.task, context)) }),
  error: errorNote,
  notice: (item) => ({ node: notice(item) }),
  stopped: () => ({ node: el("p", { class: "marker" }, icon("square"), "Stopped") }),
  lost: (item) => ({ node: problem("The connection is lost. The answer goes on without this page.", "Reconnect", item.reconnect) }),
  unanswered: (item, { commands }) => ({ node: problem("This message has no answer yet.", "Retry", () => commands.retry(item)) }),
};

/** A turn in the conversation. */
export function entry(who, label, ...children) {
  return el("article", { class: `entry ${who}`, "aria-label": label }, children);
}

function userMessage(item, context) {
  const words = item.content.map((part) =>
    part.type === "input_tag" ? el("span", { class: "tag" }, part.text) : part.text,
  );
  const node = entry(
    `user${item.pending ? " pending" : ""}`,
    item.pending ? "You, being sent" : "You",
    item.quoted_text && el("blockquote", {}, item.quoted_text),
    words.length > 0 && el("div", { class: "bubble" }, words),
    item.attachments?.length > 0 && el("ul", { class: "attachments" }, item.attachments.map((one) => el("li", {}, attachment(one, context)))),
  );
  return { node };
}

function attachment({ type, name, preview_url: preview }) {
  const source = type === "image" ? safeImageSource(preview ?? "") : null;
  const picture = source ? el("img", { src: source, alt: "", loading: "lazy" }) : icon("document");
  if (source) picture.addEventListener("error", () => picture.replaceWith(icon("square-image")));
  return el("span", { class: "chip" }, picture, el("span", { class: "chip-name" }, name));
}

function assistantMessage(item, context) {
  const body = el("div", { class: "answer" });
  const after = el("div", { class: "answer-end" });
  const node = entry("assistant", "Assistant", body, after);
  const parts = [];
  const update = (current, open) => {
    current.content.forEach((part, index) => {
      parts[index] ??= newPart(body, context);
      parts[index].update(part.text);
    });
    for (const part of parts.splice(current.content.length)) part.element.remove();
    node.classList.toggle("open", open);
    node.setAttribute("aria-busy", String(open));
    after.replaceChildren(...answerEnd(current, open, context));
  };
  update(item, context.open);
  return { node, update };
}

function newPart(body, { imageDomains }) {
  const element = el("div", { class: "markdown" });
  body.append(element);
  return new MarkdownView(element, { imageDomains });
}

function answerEnd(item, open, { commands }) {
  const annotations = item.content.flatMap((part) => part.annotations ?? []);
  const end = annotations.length ? [sources(annotations.map((annotation) => annotation.source))] : [];
  if (!open) end.push(toolbar(item, commands));
  return end;
}

/** The sources of an answer, each once. */
function sources(list) {
  const seen = new Map(list.map((source) => [source.url ?? source.filename ?? source.id ?? source.title, source]));
  const lines = [...seen.values()].map((source) =>
    el(
      "li",
      {},
      source.type === "url" ? externalLink(source.url, source.title || source.url) : el("span", {}, source.title || source.filename),
      source.attribution && el("span", { class: "muted" }, ` ${source.attribution}`),
      source.description && el("span", { class: "muted" }, ` ${source.description}`),
    ),
  );
  return el("section", { class: "sources", "aria-label": "Sources" }, el("h3", {}, "Sources"), el("ol", {}, lines));
}

function toolbar(item, commands) {
  const copy = async () => {
    await navigator.clipboard.writeText(item.content.map((part) => part.text).join("\n\n"));
    commands.announcer.toast("Copied");
  };
  const thumb = (kind, name, label) => {
    const press = async ({ currentTarget }) => {
      if (!(await commands.feedback(item, kind))) return;
      for (const other of currentTarget.parentElement.querySelectorAll("[aria-pressed]")) {
        other.setAttribute("aria-pressed", String(other === currentTarget));
      }
    };
    return el("button", { type: "button", class: "icon-button small", "aria-label": label, "aria-pressed": "false", on: { click: press } }, icon(name));
  };
  return el(
    "div",
    { class: "answer-tools" },
    el("button", { type: "button", class: "icon-button small", "aria-label": "Copy the answer", on: { click: copy } }, icon("copy")),
    thumb("positive", "thumb-up", "Good answer"),
    thumb("negative", "thumb-down", "Bad answer"),
  );
}

function clientToolCall(item) {
  const done = item.status === "completed";
  const summary = el("summary", {}, icon(done ? "check" : "clock"), `${done ? "Asked" : "Asking"} your browser: ${item.name}`);
  const details = [["Arguments", item.arguments], ["Output", item.output]]
    .filter(([, value]) => value !== undefined)
    .map(([label, value]) => el("div", {}, el("h4", {}, label), el("pre", { tabindex: "0" }, JSON.stringify(value, null, 2))));
  return { node: entry("assistant", "Client tool call", el("details", { class: "tool" }, summary, details)) };
}

function generatedImage(item, { open }) {
  const source = item.image ? safeImageSource(item.image.url) : null;
  const progress = open ? el("progress", { "aria-label": "Making an image", value: item.progress ?? null, max: "1" }) : null;
  const picture = source ? el("img", { src: source, alt: "Generated image", class: "generated" }) : el("p", { class: "muted" }, open ? "Making an image" : "No image");
  return { node: entry("assistant", "Assistant, image", el("figure", {}, picture, progress)) };
}

function errorNote(item, { commands }) {
  const text = item.message ?? "Something went wrong while answering.";
  const canRetry = item.allow_retry && (item.again || commands.conversation.state.lastUserMessage);
  return { node: problem(text, canRetry ? "Retry" : null, () => commands.retry(item)) };
}

function problem(text, label, act) {
  const button = label && el("button", { type: "button", class: "button secondary", on: { click: act } }, label);
  return el("div", { class: "problem", role: "alert" }, icon("warning"), el("p", {}, text), button);
}

function notice({ level, title, message }) {
  const body = renderMarkdown(message);
  return el("div", { class: `notice ${level}`, role: "note" }, icon(level === "info" ? "info" : "warning"), el("div", {}, title && el("strong", {}, title), body));
}
