import { randomKey } from "@relaykit/client";
import type { Again, StreamEvent, ThreadItem } from "../server/protocol.js";

/** A run as this page sees it, from the click that began it to its end. */
export class Run {
  /** Null until the server has answered. */
  id: string | null;
  allowCancel = false;
  isStopping = false;
  /** An `error` event came. */
  hasFailed = false;
  progress: { readonly text: string; readonly icon?: string | null } | null = null;
  readonly openItems = new Set<string>();
  /** The client tool call that it ended with, if it did: its last whole item. */
  pendingCall: string | null = null;
  /** It changed an item of an earlier run, which a replay cannot rebuild. */
  touchedOthers = false;
  readonly pendingId = `pending:${randomKey()}`;
  /** Ends the following where the server knows no runs: there an abort is the only Stop. */
  readonly following = new AbortController();
  /** Settles when the thread that it makes has its id, or will have none. */
  readonly named: Promise<void>;
  setNamed: () => void = () => {};
  readonly #own = new Set<string>();

  /**
   * @param fromStart followed by replay, not begun here
   * @param again what Retry does, where that is not answering the message again
   */
  constructor(
    id: string | null,
    readonly fromStart: boolean,
    readonly again: Again | null = null,
  ) {
    this.id = id;
    this.named = new Promise((resolve) => {
      this.setNamed = resolve;
    });
  }

  observe(event: StreamEvent): void {
    const item = event.item as ThreadItem | undefined;
    switch (event.type) {
      case "stream_options":
        this.allowCancel = (event.stream_options as { allow_cancel?: boolean } | undefined)?.allow_cancel === true;
        return;
      case "progress_update":
        this.progress = { text: String(event.text), icon: event.icon as string | null };
        return;
      case "thread.item.added":
        if (item === undefined) return;
        this.#own.add(item.id);
        this.openItems.add(item.id);
        break;
      case "thread.item.done":
      case "thread.item.replaced":
        if (item === undefined) return;
        this.#own.add(item.id);
        this.openItems.delete(item.id);
        if (item.type === "client_tool_call" && item.status === "pending") this.pendingCall = item.id;
        else if (event.type === "thread.item.done" || item.id === this.pendingCall) this.pendingCall = null;
        break;
      case "thread.item.updated":
        if (!this.#own.has(String(event.item_id))) this.touchedOthers = this.fromStart;
        break;
      default:
        return;
    }
    if (item?.type !== "user_message") this.progress = null;
  }
}
