import type { ClientToolCall, GeneratedImageItem, Shown, WidgetItem } from "../server/protocol.js";
import { fill } from "../texts/index.js";
import { el, externalLink } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { imageSource, picture } from "../ui/images.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { WidgetView } from "../widgets/render.js";
import { copyButton } from "./answer_tools.js";
import { answerView } from "./answer_view.js";
import { entry } from "./entry.js";
import { errorView, noticeView, stoppedView, unansweredView } from "./note_views.js";
import { structuredInputView } from "./structured_input_view.js";
import { userMessageView } from "./user_message_view.js";
import { taskItemView, workflowView } from "./workflow_view.js";

/** The view of an item; null for types that are never shown and for types of a later version. */
export function viewOf(item: Shown, context: ViewContext): ItemView | null {
  switch (item.type) {
    case "user_message":
      return userMessageView(item, context);
    case "assistant_message":
      return answerView(item, context);
    case "widget":
      return widgetItemView(item, context);
    case "client_tool_call":
      return toolCallView(item, context);
    case "generated_image":
      return imageView(item, context);
    case "structured_input":
      return structuredInputView(item, context);
    case "workflow":
      return workflowView(item, context);
    case "task":
      return taskItemView(item, context);
    case "error":
      return errorView(item, context);
    case "notice":
      return noticeView(item, context);
    case "stopped":
      return stoppedView(context);
    case "unanswered":
      return unansweredView(item, context);
    default:
      return null;
  }
}

function widgetItemView(item: WidgetItem, context: ViewContext): ItemView {
  let current = item;
  const view = new WidgetView(item.widget, {
    ...context,
    act: (action) => context.actions.act(current, action),
    autoFocus: context.open,
  });
  const { assistantWidget, copyWidget } = context.texts.items;
  const copy = copyButton(copyWidget, () => current.copy_text ?? "", context);
  const tools = el("div", { class: "answer-tools" }, copy);
  const update = (shown: Shown) => {
    if (shown.type !== "widget") return;
    current = shown;
    view.update(shown.widget);
    tools.hidden = !shown.copy_text;
  };
  update(item);
  return { node: entry("assistant", assistantWidget, view.node, tools), update };
}

function toolCallView(item: ClientToolCall, { texts }: ViewContext): ItemView {
  const { askedTool, askingTool, toolCall, arguments: argumentsLabel, output } = texts.items;
  const isDone = item.status === "completed";
  const title = fill(isDone ? askedTool : askingTool, { name: item.name });
  const details = [[argumentsLabel, item.arguments] as const, [output, item.output] as const]
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([label, value]) =>
      el("div", {}, el("h4", {}, label), el("pre", { tabindex: "0" }, JSON.stringify(value, null, 2))),
    );
  const summary = el("summary", {}, icon(isDone ? "check" : "clock"), title);
  return { node: entry("assistant", toolCall, el("details", { class: "tool" }, summary, details)) };
}

/** The view of an image. An image from a host that the thread does not allow is a link, as in Markdown. */
function imageView(item: GeneratedImageItem, context: ViewContext): ItemView {
  const { items } = context.texts;
  const figure = el("figure");
  const progress = el("progress", { "aria-label": items.makingImage, max: "1" });
  const words = el("p", { class: "muted" });
  let address: string | null = null;
  let image: HTMLElement | null = null;
  const update = (shown: Shown, open: boolean) => {
    if (shown.type !== "generated_image") return;
    const url = shown.image?.url ?? null;
    if (url !== address) image = url === null ? null : drawn(url, context);
    address = url;
    words.textContent = open ? items.makingImage : items.noImage;
    if (typeof shown.progress === "number") progress.value = shown.progress;
    else progress.removeAttribute("value");
    const wanted = [image ?? words, ...(open ? [progress] : [])];
    if (wanted.length !== figure.childElementCount || wanted.some((node, at) => node !== figure.children[at])) {
      figure.replaceChildren(...wanted);
    }
  };
  update(item, context.open);
  return { node: entry("assistant", items.assistantImage, figure), update };
}

function drawn(address: string, { texts, imageDomains, actions }: ViewContext): HTMLElement {
  const { generatedImage, openFile } = texts.items;
  const source = imageSource(address, imageDomains);
  if (source === null) return el("p", {}, externalLink(address, generatedImage));
  const image = picture(source, { alt: generatedImage, class: "generated" });
  const open = () => actions.enlarge({ name: generatedImage, source });
  const label = fill(openFile, { name: generatedImage });
  return el("button", { type: "button", class: "enlarge", "aria-label": label, on: { click: open } }, image);
}

/** The placeholder for an item that cannot be drawn. */
export function undrawnView({ texts }: ViewContext): ItemView {
  const mark = el("p", { class: "muted" }, icon("warning"), texts.items.notShown);
  return { node: entry("undrawn", texts.items.notShown, mark) };
}
