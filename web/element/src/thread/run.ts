import { randomKey } from "@relaykit/client";
import type { Again, StreamEvent, ThreadItem } from "../server/protocol.js";

/** A run as this page sees it, from the click that began it to its end. */
export class Run {
  /** The id; null until the server has answered. */
  id: string | null;
  allowCancel = false;
  /** Whether the server has accepted the request. */
  isAccepted: boolean;
  isStopping = false;
  /** Whether an `error` event has arrived. */
  hasFailed = false;
  progress: { readonly text: string; readonly icon?: string | null } | null = null;
  readonly openItems = new Set<string>();
  /** The message that the run answers, once the server has it. */
  messageId: string | null = null;
  /** The last item that the run has shown. */
  lastItemId: string | null = null;
  /** Whether the run waits behind another one of its thread. */
  isWaiting = false;
  /** Whether the person has taken its message back. */
  isWithdrawn = false;
  /** Whether a worker has begun it. */
  hasBegun = false;
  /** The id of the client tool call that is the run's last complete item; null where another item is. */
  pendingCall: string | null = null;
  /** Whether a followed run has changed an item of an earlier run, which a replay cannot rebuild. */
  touchedOthers = false;
  readonly pendingId = `pending:${randomKey()}`;
  /** Ends the following. On a server that knows no runs this is the only Stop. */
  readonly following = new AbortController();
  /** Settles when the thread that the run creates has its id, or will get none. */
  readonly named: Promise<void>;
  setNamed: () => void = () => {};
  readonly #own = new Set<string>();

  /**
   * @param fromStart whether the run began elsewhere and is replayed from its start
   * @param again the action of Retry, where that is not to answer the message again
   */
  constructor(
    id: string | null,
    readonly fromStart: boolean,
    readonly again: Again | null = null,
  ) {
    this.id = id;
    this.isAccepted = fromStart;
    this.named = new Promise((resolve) => {
      this.setNamed = resolve;
    });
  }

  /** The key of the marks of this run. */
  get key(): string {
    return this.id ?? this.pendingId;
  }

  /** Notes, before the event is applied, whether it is one of those that a run begins to send when it has its turn. */
  expect(event: StreamEvent, cursor: string | null): void {
    const item = event.item as ThreadItem | undefined;
    const isOfAdmission =
      ["stream_options", "thread.created", "thread.updated"].includes(event.type) ||
      (event.type === "progress_update" && cursor === null) ||
      (event.type === "thread.item.done" && item?.type === "user_message");
    if (!isOfAdmission) this.hasBegun = true;
    if (item?.type === "user_message" && event.type === "thread.item.done") this.messageId = item.id;
    if (item !== undefined) this.lastItemId = item.id;
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
