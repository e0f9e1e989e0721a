import { randomKey } from "@relaykit/client";
import { ApiError } from "../server/api.js";
import type { StreamEvent, Thread, ThreadItem } from "../server/protocol.js";
import { isPendingCall } from "./awaited_call.js";
import { isFresh } from "./effects.js";
import type { ConversationEvents } from "./events.js";
import { unlessLeft } from "./leaving.js";
import type { OpenThread } from "./open_thread.js";
import type { ThreadQueries } from "./queries.js";
import type { Run } from "./run.js";

/** Applies the events of runs to the open thread. */
export class RunEvents {
  #threadLoads = 0;

  constructor(
    private readonly thread: OpenThread,
    private readonly queries: ThreadQueries,
    private readonly events: ConversationEvents,
  ) {}

  apply(run: Run, event: StreamEvent, cursor: string | null): void {
    const { events } = this;
    const { state } = this.thread;
    const { hasBegun } = run;
    run.expect(event, cursor);
    // Most events are updates. They change nothing of what waits, but the first may say that its run has begun.
    const isUpdate = event.type === "thread.item.updated";
    if (!isUpdate || run.hasBegun !== hasBegun) this.thread.markWaiting();
    switch (event.type) {
      case "thread.created":
      case "thread.updated":
        this.#applyThread(run, event);
        break;
      case "client_effect":
        if (isFresh(run.id, cursor)) events.effect(String(event.name), (event.data ?? {}) as Record<string, unknown>);
        break;
      case "error":
        run.hasFailed = true;
        state.putAfter(run.lastItemId, {
          id: `error:${run.key}`,
          type: "error",
          ...(typeof event.message === "string" && { message: event.message }),
          canRetry: event.allow_retry === true,
          again: run.again,
        });
        events.failed(String(event.message ?? event.code ?? ""));
        break;
      case "notice":
        // Not at the end, where the messages stand that wait for this run.
        state.putAfter(null, {
          id: `notice:${run.id ?? run.pendingId}:${cursor ?? randomKey()}`,
          type: "notice",
          level: String(event.level),
          title: (event.title as string | null) ?? null,
          message: String(event.message),
        });
        break;
      default:
        this.#applyItem(run, event);
    }
    run.observe(event);
    if (!isUpdate) this.thread.markWaiting();
    events.changed();
  }

  #applyThread(run: Run, event: StreamEvent): void {
    run.setNamed();
    if (run.fromStart) {
      void this.#loadThread();
      return;
    }
    const thread = event.thread as Thread;
    this.thread.state.setThread(thread);
    this.events.threadChanged();
    this.events.threadsChanged(thread);
    if (event.type === "thread.created") this.events.runBegan(thread.id, run.id);
  }

  /**
   * Loads the thread from the server, because a replayed event may be older than the thread's name. Of several loads
   * the answer of the last one counts.
   */
  async #loadThread(): Promise<void> {
    const { signal, state } = this.thread;
    const load = ++this.#threadLoads;
    try {
      const thread = await unlessLeft(signal, () => this.queries.thread(state.id));
      if (thread === null || load !== this.#threadLoads) return;
      state.setThread(thread);
      this.events.threadChanged();
      this.events.changed();
    } catch (error) {
      // The page keeps what it shows, and asks again when the user comes back to it.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #applyItem(run: Run, event: StreamEvent): void {
    const { state } = this.thread;
    const item = event.item as ThreadItem | undefined;
    const wasDone = item !== undefined && state.items.has(item.id) && !state.open.has(item.id);
    state.apply(event);
    const { awaited } = this.thread;
    if (awaited !== null && item?.id === awaited.itemId && !isPendingCall(item)) this.thread.release(awaited);
    if (event.type !== "thread.item.done" || item === undefined) return;
    if (item.type === "user_message") state.remove(run.pendingId);
    if (item.type === "assistant_message" && !wasDone) this.events.answered(item);
  }
}
