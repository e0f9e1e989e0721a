import {
  type AwaitedOutput,
  type ReceivedEvent,
  type ResumedRun,
  readEvents,
  type ThreadActivity,
} from "@relaykit/client";
import { ApiError } from "../server/api.js";
import { pause } from "../ui/pause.js";
import { AwaitedCall, isPendingCall, type RunOrigin } from "./awaited_call.js";
import type { ConversationEvents } from "./events.js";
import { isAbort, unlessLeft } from "./leaving.js";
import type { MarkLoader } from "./mark_loader.js";
import { breakOff, endRetries } from "./marks.js";
import type { OpenThread } from "./open_thread.js";
import type { ThreadQueries } from "./queries.js";
import { Run } from "./run.js";
import type { RunEvents } from "./run_events.js";

const POLL_MS = 2_000;

/** The events of a run's answer. It returns how the run has ended; null where the answer does not tell it. */
export type RunStream = AsyncGenerator<ReceivedEvent, string | null>;

/**
 * Follows the turn of the open thread: each of its runs to its end, the runs that waited behind it, and the client tool
 * call with which a run may end.
 */
export class TurnFollower {
  constructor(
    private readonly thread: OpenThread,
    private readonly queries: ThreadQueries,
    private readonly runEvents: RunEvents,
    private readonly marks: MarkLoader,
    private readonly events: ConversationEvents,
  ) {}

  /**
   * Follows the thread's active run, where the page does not follow it yet. Returns whether it does now. Throws
   * ApiError.
   */
  async resume(): Promise<boolean> {
    const { signal } = this.thread;
    const { id } = this.thread.state;
    if (id === null) return false;
    const activity = await unlessLeft(signal, () => this.queries.activity(id, signal));
    return activity !== null && activity.run !== null && this.follow(activity.run);
  }

  /** Follows the run from its start; false where the page follows it already or has seen its end. */
  follow(active: ResumedRun): boolean {
    const { thread } = this;
    if (thread.hasEnded(active.runId) || thread.isFollowed(active.runId)) {
      void active.response.body?.cancel();
      return false;
    }
    thread.change((state) => {
      state.dropLocal("unanswered");
      endRetries(state);
      for (const [messageId, runId] of state.waiting) if (runId === active.runId) state.waiting.delete(messageId);
    });
    const run = new Run(active.runId, true);
    thread.addRun(run);
    this.events.changed();
    void this.observe(run, readEvents(active.response, thread.signal), thread.signal);
    return true;
  }

  /** Applies the events of a run until its end, or until the page leaves the thread. */
  async observe(run: Run, stream: RunStream, signal: AbortSignal): Promise<void> {
    for (;;) {
      const next = await this.#next(run, stream);
      if (signal.aborted) {
        await stream.return(null);
        return;
      }
      if (next.done) {
        await this.#ended(run, next.value, signal);
        return;
      }
      try {
        this.runEvents.apply(run, next.value.event, next.value.cursor);
      } catch (error) {
        // A malformed event is skipped and reported; the rest of the answer is shown.
        reportError(error);
      }
    }
  }

  /** The next event. An answer breaks where its server knows no runs, or where the site has ended its fetch. */
  async #next(run: Run, stream: RunStream): Promise<IteratorResult<ReceivedEvent, string | null>> {
    try {
      return await stream.next();
    } catch (error) {
      const isStopped = run.following.signal.aborted;
      run.hasFailed = true;
      if (!isStopped && !isAbort(error)) {
        this.#showFailure(run);
        this.events.failed(String(error));
      }
      return { done: true, value: isStopped ? "cancelled" : null };
    }
  }

  /**
   * @param status null where the answer did not tell it: the rest of the answer is in the thread once the run is over
   */
  async #ended(run: Run, status: string | null, signal: AbortSignal): Promise<void> {
    const { thread } = this;
    const isCut = status === null && run.id !== null;
    if (isCut && !run.hasFailed) await this.#waitUntilOver(run, signal);
    if (signal.aborted) return;
    const isOverlapped = thread.runs.size > 1;
    if (run.pendingCall !== null && !run.hasFailed && (status === "completed" || run.id === null)) {
      this.#await(new AwaitedCall(run.pendingCall, run.id, originOf(run)));
    }
    // The marks come before the next run has its turn, whose message then stands behind them.
    const wasBrokenOff = this.#markEnd(run, status);
    thread.removeRun(run);
    // A run that the page could not follow to its end may be followed again.
    const isUnseen = isCut && run.hasFailed;
    if (run.id !== null && !isUnseen) thread.markEnded(run.id);
    this.#reportEnd(run, status);
    const isIncomplete = status === null || isOverlapped || run.touchedOthers || this.#wasAnsweredElsewhere(run);
    // A failed run may have stored what the page believes to be broken off.
    if (isIncomplete || wasBrokenOff) await this.reload(signal, isUnseen ? run.id : null);
    if (!signal.aborted) await this.#followNext(run, signal);
  }

  /** Marks how the run has ended. Returns whether it has failed in the middle of an item. */
  #markEnd(run: Run, status: string | null): boolean {
    const hasFailed = status === "failed" || run.hasFailed;
    const wasBrokenOff = hasFailed && run.openItems.size > 0;
    this.thread.change((state) => {
      if (hasFailed) breakOff(state, run.openItems);
      for (const id of run.openItems) state.open.delete(id);
      state.remove(run.pendingId);
      if (run.isWithdrawn && run.messageId !== null) state.remove(run.messageId);
      else if (status === "cancelled") state.putAfter(run.lastItemId, { id: `stopped:${run.key}`, type: "stopped" });
    });
    if (status === "failed" && !run.hasFailed) this.#showFailure(run);
    return wasBrokenOff;
  }

  #reportEnd(run: Run, status: string | null): void {
    this.events.changed();
    if (status === "failed" && !run.hasFailed) this.events.failed("The run has failed.");
    if (status === "cancelled" && !run.isWithdrawn) this.events.stopped();
    this.events.runEnded(run.id, status);
  }

  #showFailure(run: Run): void {
    const error = { id: `error:${run.key}`, type: "error", canRetry: true, again: run.again } as const;
    this.thread.change((state) => state.putAfter(run.lastItemId, error));
  }

  /**
   * Whether a client tool call was completed elsewhere: by a request and not by an event, so this page has not seen it.
   */
  #wasAnsweredElsewhere(run: Run): boolean {
    const { items, last } = this.thread.state;
    const isPending = (item: object) => "status" in item && item.status === "pending";
    return run.fromStart && [...items.values()].some((item) => isPending(item) && item !== last);
  }

  /** Waits for the end of a run whose events are gone. */
  async #waitUntilOver(run: Run, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.thread.state.id !== null) {
      const found = await this.#activityUnlessAway(signal);
      if (found !== "away") {
        await found.run?.response.body?.cancel();
        if (found.run?.runId !== run.id) return;
      }
      await pause(POLL_MS, signal).catch(() => {});
    }
  }

  /**
   * Loads the newest items again, and the marks. After a failure the page keeps what it shows until the user comes back
   * to it.
   *
   * @param cut the run that the page could not follow to its end
   */
  async reload(signal: AbortSignal, cut: string | null = null): Promise<void> {
    const { thread } = this;
    if (thread.state.id === null) return;
    const { id, mark } = thread.state;
    thread.isStale = false;
    const showMarks = this.marks.ask(id, signal, cut);
    try {
      const page = await this.queries.newestItems(id);
      if (signal.aborted) return;
      thread.change((state) => state.loadNewest(page, mark));
      showMarks();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** Follows the run that waited behind this one, or ends the turn. */
  async #followNext(run: Run, signal: AbortSignal): Promise<void> {
    const { thread } = this;
    if (thread.isBusy || thread.state.id === null) return;
    const found = await this.#activityUnlessAway(signal);
    const { run: active, awaits } = found === "away" ? { run: null, awaits: null } : found;
    if (signal.aborted || thread.isBusy || active?.runId === run.id) await active?.response.body?.cancel();
    if (signal.aborted || thread.isBusy) return;
    if (active !== null && active.runId !== run.id && this.follow(active)) return;
    // A message that another tab has sent may have its answer by now.
    if (thread.isStale) await this.reload(signal);
    if (!signal.aborted && !thread.isBusy) this.settle(originOf(run), awaits);
  }

  async #activityUnlessAway(signal: AbortSignal): Promise<ThreadActivity | "away"> {
    try {
      return await this.queries.activity(this.thread.state.id ?? "", signal);
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error;
      return "away";
    }
  }

  /**
   * Ends the turn, because no run is active: awaits the client tool call that the thread has come to, or marks a
   * message without an answer. A server that knows of no waits has a pending call as the thread's last item.
   */
  settle(origin: RunOrigin, awaits: AwaitedOutput | null): void {
    const { thread } = this;
    const { last } = thread.state;
    // Nothing waits in a thread in which nothing is active and no call is awaited.
    if (awaits === null && !thread.isBusy) this.marks.nothingWaits();
    if (awaits !== null) this.#await(new AwaitedCall(awaits.itemId, awaits.runId, origin, awaits.secondsLeft));
    else if (last !== undefined && isPendingCall(last)) this.#await(new AwaitedCall(last.id, null, origin));
    if (!thread.isBusy) thread.change((state) => state.noteUnanswered());
  }

  #await(call: AwaitedCall): void {
    if (this.thread.awaited?.itemId === call.itemId) return;
    this.thread.await(call);
    this.events.awaiting(call);
    void this.#watch(call);
  }

  /** Checks the call again and again, because another tab, a new message or the server's clock may end the wait. */
  async #watch(call: AwaitedCall): Promise<void> {
    do {
      await pause(POLL_MS, call.signal).catch(() => {});
    } while (await this.isAwaited(call));
  }

  /** Asks whether the server still awaits the call. Where it does not, the page goes on with the thread's next run. */
  async isAwaited(call: AwaitedCall): Promise<boolean> {
    const { thread } = this;
    const { signal } = thread;
    if (call !== thread.awaited) return false;
    const found = await this.#activityUnlessAway(signal);
    if (found === "away") return call === thread.awaited;
    const { run, awaits } = found;
    if (call !== thread.awaited) {
      await run?.response.body?.cancel();
      return false;
    }
    if (awaits?.itemId === call.itemId) call.confirm(awaits.secondsLeft);
    // A server that never said that it waits cannot say that it has stopped waiting.
    if (awaits?.itemId === call.itemId || (!call.isKnown && run === null && awaits === null)) return true;
    const isFollowed = run !== null && this.follow(run);
    thread.release(call);
    await this.reload(signal);
    if (!signal.aborted && !isFollowed && !thread.isBusy) this.settle("opened", awaits);
    return false;
  }
}

function originOf(run: Run): RunOrigin {
  return run.fromStart ? "followed" : "started";
}
