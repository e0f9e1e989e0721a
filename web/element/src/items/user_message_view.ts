import type { Attachment, UserContent, UserMessage } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { picture, previewSource } from "../ui/images.js";
import { drawnPart } from "../ui/undrawn.js";
import type { ItemView, ViewContext } from "../ui/view_context.js";
import { entityChip, entityOfTag } from "./entities.js";
import { entry } from "./entry.js";

/** The view of a person's message with its attachments. */
export function userMessageView(item: UserMessage, context: ViewContext): ItemView {
  const { texts } = context;
  const attachments = item.attachments ?? [];
  const node = entry(
    `user${item.pending ? " pending" : ""}`,
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
            drawnPart("attachment", context, () => attachmentChip(one, () => reload(item, context))),
          ),
        ),
      ),
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

function attachmentChip({ type, name, preview_url: preview }: Attachment, onFailure: () => void): HTMLElement {
  const source = type === "image" ? previewSource(preview) : null;
  const shown = source ? picture(source, { alt: "", loading: "lazy" }) : icon("document");
  shown.addEventListener("error", () => {
    shown.replaceWith(icon("square-image"));
    onFailure();
  });
  return el("span", { class: "chip" }, shown, el("span", { class: "chip-name" }, name));
}
