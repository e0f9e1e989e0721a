import type { Attachment, UserContent, UserMessage } from "../server/protocol.js";
import { fill } from "../texts/index.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { picture, previewSource } from "../ui/images.js";
import { drawnPart } from "../ui/undrawn.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { copyButton, toolButton } from "./answer_tools.js";
import { entityChip, entityOfTag } from "./entities.js";
import { entry } from "./entry.js";

/** The view of a person's message with its attachments. */
export function userMessageView(item: UserMessage, context: ViewContext): ItemView {
  const { texts } = context;
  const attachments = item.attachments ?? [];
  const node = entry(
    `user${item.pending ? " pending" : ""}${item.waiting === undefined ? "" : " waiting"}`,
    item.pending ? texts.items.youPending : texts.items.you,
    item.quoted_text ? el("blockquote", {}, item.quoted_text) : null,
    item.content.length > 0 &&
      el(
        "div",
        { class: "bubble" },
        item.content.map((part) => drawnPart("content", context, () => words(part, context))),
      ),
    attachments.length > 0 &&
      el(
        "ul",
        { class: "attachments" },
        attachments.map((one) =>
          el(
            "li",
            {},
            drawnPart("attachment", context, () => attachmentChip(one, item, context)),
          ),
        ),
      ),
    !item.pending && messageTools(item, context),
  );
  return { node };
}

function words(part: UserContent, context: ViewContext): Node {
  const text = document.createTextNode(part.text);
  return part.type === "input_tag" ? entityChip(entityOfTag(part), context, "tag", text) : text;
}

function reload(item: UserMessage, { actions }: ViewContext): void {
  if (!item.pending) void actions.reload(item);
}

/** Copy and Edit; of a message that waits for its turn, that it does, and what can still be done with it. */
function messageTools(item: UserMessage, context: ViewContext): HTMLElement {
  const { texts, actions } = context;
  const { copyMessage, editMessage, waiting, withdraw } = texts.items;
  const copied = () => item.content.map(({ text }) => text).join("");
  const edit = toolButton("write", editMessage, () => actions.edit(item));
  if (item.waiting === undefined) {
    return el("div", { class: "message-tools" }, copyButton(copyMessage, copied, context), edit);
  }
  const mark = el("span", { class: "marker" }, icon("clock"), waiting);
  return el(
    "div",
    { class: "message-tools" },
    mark,
    edit,
    toolButton("close", withdraw, () => actions.withdraw(item)),
  );
}

/** The chip of a file. It opens the file where there is an address of it. */
function attachmentChip(file: Attachment, item: UserMessage, context: ViewContext): HTMLElement {
  const { type, name, preview_url: preview } = file;
  const { actions, texts } = context;
  const source = type === "image" ? previewSource(preview) : null;
  const shown = source ? picture(source, { alt: "", loading: "lazy" }) : icon("document");
  shown.addEventListener("error", () => {
    shown.replaceWith(icon("square-image"));
    reload(item, context);
  });
  const face = [shown, el("span", { class: "chip-name" }, name)];
  if (item.pending || (source === null && !actions.canFetchFiles)) return el("span", { class: "chip" }, ...face);
  const open = () => (source === null ? void actions.fetchFile(file) : actions.enlarge({ name, source }));
  const label = fill(source === null ? texts.items.saveFile : texts.items.openFile, { name });
  return el(
    "button",
    { type: "button", class: "chip", "aria-label": label, title: label, on: { click: open } },
    ...face,
  );
}
