import { isFields } from "../server/fields.js";
import type { LocalItem, Shown, ThreadItem, UserMessage } from "../server/protocol.js";

const LOCAL_TYPES = new Set(["error", "notice", "stopped", "unanswered"]);
/** The items that a person takes for a message. */
const MESSAGE_TYPES = new Set(["user_message", "assistant_message", "widget", "generated_image", "structured_input"]);
/** The other items of a server that are shown. */
const OTHER_SHOWN_TYPES = new Set(["client_tool_call", "workflow", "task"]);

/** Whether the value has an item's id and type. The state skips all others, because it cannot tell them apart. */
export function isItem(item: unknown): item is ThreadItem {
  return isFields(item) && typeof item.id === "string" && typeof item.type === "string";
}

/** The item as JSON. An item that nests too deep for JSON differs from every other one. */
export function fingerprint(item: unknown): unknown {
  try {
    return JSON.stringify(item);
  } catch {
    return Symbol("too deep");
  }
}

export function isLocal(item: Shown): item is LocalItem {
  return LOCAL_TYPES.has(item.type);
}

/** Whether the server does not have the item. */
export function isUnstored(item: Shown): boolean {
  return isLocal(item) || (item.type === "user_message" && item.pending === true) || item.broken === true;
}

/** Whether the message stands behind the answer that is being written. */
export function isBehind({ pending, waiting }: UserMessage): boolean {
  return pending === true || waiting !== undefined;
}

/** Whether a person takes the item for a message. */
export function isMessage({ type }: Shown): boolean {
  return MESSAGE_TYPES.has(type);
}

/** Whether a person can see the item, which the server has. */
export function isShown({ type }: Shown): boolean {
  return MESSAGE_TYPES.has(type) || OTHER_SHOWN_TYPES.has(type);
}
