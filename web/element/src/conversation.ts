import {
  type AwaitedOutput,
  type ReceivedEvent,
  type ResumedRun,
  randomKey,
  readEvents,
  type ThreadActivity,
} from "@relaykit/client";
import { type Api, ApiError, codeOf } from "./server/api.js";
import type {
  Again,
  AssistantMessage,
  Page,
  Shown,
  StreamEvent,
  Thread,
  ThreadItem,
  UserMessage,
} from "./server/protocol.js";
import { AwaitedCall, type Settled } from "./thread/awaited_call.js";
import { isFresh } from "./thread/effects.js";
import { Run } from "./thread/run.js";
import { ThreadState } from "./thread/state.js";
import { pause } from "./ui/pause.js";

const PAGE_ITEMS = 50;
const POLL_MS = 2_000;

type Next = IteratorResult<ReceivedEvent, string | null>;

export interface StartOptions {
  readonly pending?: Omit<UserMessage, "id" | "type"> | null;
  readonly again?: Again | null;
  readonly refused?: (error: ApiError) => void;
}

/** What a conversation tells the rest of the element. */
export interface ConversationEvents {
  /** Something is to be drawn. */
  changed(): void;
  /** Another thread is open, or its title or status has changed. */
  threadChanged(): void;
  /** The thread was created, or renamed, by a run that began here. */
  threadsChanged(): void;
  /** A run of the open thread began here. */
  runBegan(threadId: string, runId: string | null): void;
  /** A request was refused. */
  refused(error: ApiError): void;
  effect(name: string, data: Record<string, unknown>): void;
  answered(message: AssistantMessage): void;
  stopped(): void;
  responding(isResponding: boolean): void;
  /** What a run says has gone wrong. */
  failed(message: string): void;
  /** A run has ended with a client tool call, whose output this page may give. */
  awaiting(call: AwaitedCall): void;
}

/** The open thread: its state, and the runs of it that this page follows. */
export class Conversation {
  state = new ThreadState();
  /** Runs in flight here, those still being posted among them. */
  runs = new Set<Run>();
  /** The client tool call that the turn waits for, where it has come to one. */
  awaited: AwaitedCall | null = null;
  #isResponding = false;
  /** Something else came to the thread while a turn went on here, and what became of it is not known yet. */
  #isStale = false;
  #scope = new AbortController();
  readonly #finished = new Set<string>();
  #threadLoads = 0;
  /** Settles when the thread has its id, or will have none. */
  #naming: Promise<unknown> | null = null;

  constructor(
    private readonly api: Api,
    private readonly events: ConversationEvents,
  ) {}

  /** The open thread's id. One that is being loaded or made has none yet, and is waited for. */
  async threadId(): Promise<string | null> {
    await Promise.race([this.#naming, aborted(this.signal)]);
    return this.state.id;
  }

  get isRunning(): boolean {
    return this.runs.size > 0;
  }

  /** The turn is not over: a run goes on, or waits, or a client tool call is awaited. */
  get isBusy(): boolean {
    return this.isRunning || this.awaited !== null;
  }

  /** Aborts when the page leaves this thread. */
  get signal(): AbortSignal {
    return this.#scope.signal;
  }

  /** Leaves the thread; its runs go on without this page. */
  clear(): void {
    this.#scope.abort(new DOMException("The thread was left.", "AbortError"));
    this.#scope = new AbortController();
    this.runs = new Set();
    this.awaited?.end();
    this.awaited = null;
    this.#isStale = false;
    this.#respond();
    this.#naming = null;
    this.state = new ThreadState();
    this.events.threadChanged();
    this.events.changed();
  }

  /** Loads a thread and follows its active run from that run's start. Throws ApiError. */
  async open(threadId: string): Promise<void> {
    this.clear();
    const loading = this.#load(threadId, this.signal);
    this.#naming = loading.catch(() => {});
    await loading;
  }

  async #load(threadId: string, signal: AbortSignal): Promise<void> {
    const loaded = await unlessLeft(signal, async () => {
      // The run is asked for before the items: a run that ends in between has then stored all of them.
      const [thread, activity] = await Promise.all([
        this.api.call<Thread>("threads.get_by_id", { thread_id: threadId }),
        this.#activityOf(threadId, signal),
      ]);
      return { thread, activity, page: await this.newestItems(threadId) };
    });
    if (loaded === null) return;
    const { thread, activity, page } = loaded;
    this.state.setThread(thread);
    this.state.loadNewest(page);
    this.events.threadChanged();
    this.events.changed();
    if (activity.run !== null) this.#follow(activity.run);
    else this.#settle("opened", activity.awaits);
  }

  /** A thread can be read though nobody can say whether it has a run; coming back to the page asks again. */
  async #activityOf(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    try {
      return await this.api.activity(threadId, signal);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { run: null, awaits: null };
    }
  }

  /** The newest items of a thread, newest first. Throws ApiError. */
  newestItems(threadId: string, limit = PAGE_ITEMS): Promise<Page<ThreadItem>> {
    return this.api.call("items.list", { thread_id: threadId, limit, order: "desc" });
  }

  /** Throws ApiError. */
  async loadEarlier(): Promise<void> {
    const { state } = this;
    const { id, earlierAfter: after } = state;
    const params = { thread_id: id, limit: PAGE_ITEMS, order: "desc", after };
    const page = await this.api.call<Page<ThreadItem>>("items.list", params);
    if (this.state !== state || state.earlierAfter !== after) return;
    state.loadEarlier(page);
    this.events.changed();
  }

  /** Asks for one item anew: a link in it may have ended since this page was given it. Throws ApiError. */
  async reload(item: Shown): Promise<void> {
    const { state } = this;
    const after = state.storedAfter(item.id);
    const params = { thread_id: state.id, limit: 1, order: "desc", ...(after !== null && { after }) };
    const { data } = await this.api.call<Page<ThreadItem>>("items.list", params);
    const found = data.find(({ id }) => id === item.id);
    if (this.state !== state || state.items.get(item.id) !== item || found === undefined) return;
    if (JSON.stringify(found) !== JSON.stringify(item)) this.change(({ items }) => items.set(item.id, found));
  }

  /** Changes the state from outside a run. */
  change(alter: (state: ThreadState) => void): void {
    alter(this.state);
    this.events.changed();
  }

  /** What another tab or device may have done meanwhile: newer items, another title, a run. Throws ApiError. */
  async sync(): Promise<void> {
    const { signal } = this;
    const { id, mark } = this.state;
    if (id === null || this.isBusy) return;
    const loaded = await unlessLeft(signal, async () => {
      const { run: active, awaits } = await this.api.activity(id, signal);
      const [thread, page] = await Promise.all([
        this.api.call<Thread>("threads.get_by_id", { thread_id: id }),
        this.newestItems(id),
      ]);
      return { active, awaits, thread, page };
    });
    if (loaded === null) return;
    if (this.isBusy) {
      await loaded.active?.response.body?.cancel();
      return;
    }
    const { active, awaits, thread, page } = loaded;
    this.state.setThread(thread);
    this.events.threadChanged();
    if (!this.state.equals(page)) {
      this.change((state) => {
        state.dropLocal("error", "unanswered");
        state.loadNewest(page, mark);
      });
    }
    if (active === null || !this.#follow(active)) this.#settle("opened", awaits);
  }

  /** What the server has of the open thread now, though its turn goes on. Throws ApiError. */
  async refresh(): Promise<void> {
    const { signal } = this;
    const { id } = this.state;
    if (id === null) return;
    if (!this.isBusy) {
      await this.sync();
      return;
    }
    this.#isStale = true;
    const { mark } = this.state;
    const page = await this.newestItems(id);
    if (signal.aborted) return;
    this.change((state) => state.loadNewest(page, mark));
    if (this.awaited !== null) await this.look(this.awaited);
  }

  /** Follows the run that the open thread has active, where this page does not yet; whether there is one. Throws ApiError. */
  async resume(): Promise<boolean> {
    const { signal } = this;
    const { id } = this.state;
    if (id === null) return false;
    const activity = await unlessLeft(signal, () => this.api.activity(id, signal));
    return activity !== null && activity.run !== null && this.#follow(activity.run);
  }

  /** Whether the server still awaits the call, as far as it can be asked; where it does not, the page goes on. */
  async look(call: AwaitedCall): Promise<boolean> {
    const { signal } = this;
    if (call !== this.awaited) return false;
    const found = await this.#activityUnlessAway(signal);
    if (found === "away") return call === this.awaited;
    const { run, awaits } = found;
    if (call !== this.awaited) {
      await run?.response.body?.cancel();
      return false;
    }
    if (awaits?.itemId === call.itemId) call.know(awaits.secondsLeft);
    // A server that has not said that it waits cannot say that it does not.
    if (awaits?.itemId === call.itemId || (!call.isKnown && run === null && awaits === null)) return true;
    const isFollowed = run !== null && this.#follow(run);
    this.release(call);
    await this.#reload(signal);
    if (!signal.aborted && !isFollowed && !this.isBusy) this.#settle("opened", awaits);
    return false;
  }

  /** The call has its output, or nobody waits for it any more. */
  release(call: AwaitedCall): void {
    if (call !== this.awaited) return;
    this.awaited = null;
    call.end();
    this.#respond();
    this.events.changed();
  }

  #await(call: AwaitedCall): void {
    if (this.awaited?.itemId === call.itemId) return;
    this.awaited?.end();
    this.awaited = call;
    this.#respond();
    this.events.changed();
    this.events.awaiting(call);
    void this.#watch(call);
  }

  /** The call may be answered by another tab, or given up by another device, a new message or the server's clock. */
  async #watch(call: AwaitedCall): Promise<void> {
    do {
      await pause(POLL_MS, call.signal).catch(() => {});
    } while (await this.look(call));
  }

  /**
   * Posts a streaming request and follows its run.
   *
   * @param pending the user's message, shown until the server has it
   * @param again what Retry does after a failure, where that is not answering the message again
   * @param refused hears what the person and the page would be told of a refusal
   * @returns whether the server accepted it
   */
  async start(
    type: string,
    params: object,
    { pending = null, again = null, refused = (error) => this.events.refused(error) }: StartOptions = {},
  ): Promise<boolean> {
    const { signal } = this;
    const run = new Run(null, false, again);
    this.#add(run);
    this.state.dropLocal("error", "unanswered");
    if (pending !== null) this.state.put({ ...pending, id: run.pendingId, type: "user_message", pending: true });
    this.events.changed();
    if (type === "threads.create") this.#naming = run.named;
    const leaving = new AbortController();
    const leave = () => leaving.abort();
    try {
      const response = await this.api.stream(type, params, run.following.signal);
      run.id = response.headers.get("X-Run-Id");
      const events = readEvents(response, leaving.signal);
      // A refusal is the first event of an answer without a run, and is told wherever the person is by then.
      const first = run.id === null ? await this.#reached(events.next()) : null;
      if (first?.done === false && first.value.event.type === "error") {
        await events.return(null);
        throw new ApiError(0, codeOf(response), String(first.value.event.message ?? ""));
      }
      if (first?.done === false) this.api.hasRuns = false;
      const isFollowed = [...this.runs].some((other) => other !== run && other.id !== null && other.id === run.id);
      if (signal.aborted || isFollowed) {
        leave();
        await events.return(null);
        this.#forget(run);
        this.events.threadsChanged();
        if (signal.aborted) await this.#followIfOpen(params);
        return true;
      }
      signal.addEventListener("abort", leave);
      if (this.state.id !== null) this.events.runBegan(this.state.id, run.id);
      const following = this.#observe(run, first === null ? events : joined(first, events), signal);
      void following.finally(() => signal.removeEventListener("abort", leave));
      return true;
    } catch (error) {
      this.#forget(run);
      if (run.following.signal.aborted) return true;
      if (!(error instanceof ApiError)) throw error;
      refused(error);
      return false;
    }
  }

  /** What breaks an answer before its first event is that the server was not reached. */
  async #reached<Result>(reading: Promise<Result>): Promise<Result> {
    try {
      return await reading;
    } catch (error) {
      throw isAbort(error) ? error : this.api.unreachable();
    }
  }

  /** The thread was left and opened again while the request was on its way. */
  async #followIfOpen(params: object): Promise<void> {
    if (!("thread_id" in params) || params.thread_id !== this.state.id) return;
    try {
      await this.resume();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.events.refused(error);
    }
  }

  #forget(run: Run): void {
    this.#remove(run);
    if (this.state.remove(run.pendingId)) this.events.changed();
  }

  /** Whether the run was not followed here already, nor had ended. */
  #follow(active: ResumedRun): boolean {
    const isKnown = this.#finished.has(active.runId) || [...this.runs].some((run) => run.id === active.runId);
    if (isKnown) {
      void active.response.body?.cancel();
      return false;
    }
    this.change((state) => state.dropLocal("error", "unanswered"));
    const run = new Run(active.runId, true);
    this.#add(run);
    this.events.changed();
    void this.#observe(run, readEvents(active.response, this.signal), this.signal);
    return true;
  }

  async #observe(run: Run, events: AsyncGenerator<ReceivedEvent, string | null>, signal: AbortSignal): Promise<void> {
    for (;;) {
      const next = await this.#next(run, events);
      if (signal.aborted) {
        await events.return(null);
        return;
      }
      if (next.done) {
        await this.#ended(run, next.value, signal);
        return;
      }
      try {
        this.#apply(run, next.value.event, next.value.cursor);
      } catch (error) {
        // An event that is not what it says costs itself, and not the answer that it stands in.
        reportError(error);
      }
    }
  }

  /** The next event. A body that breaks is one whose server knows no runs, or whose fetch the page has ended. */
  async #next(run: Run, events: AsyncGenerator<ReceivedEvent, string | null>): Promise<Next> {
    try {
      return await events.next();
    } catch (error) {
      const isStopped = run.following.signal.aborted;
      run.hasFailed = true;
      if (!isStopped && !isAbort(error)) {
        this.state.put({ id: `error:${run.pendingId}`, type: "error", canRetry: true, again: run.again });
        this.events.failed(String(error));
      }
      return { done: true, value: isStopped ? "cancelled" : null };
    }
  }

  #apply(run: Run, event: StreamEvent, cursor: string | null): void {
    const { state, events } = this;
    switch (event.type) {
      case "thread.created":
      case "thread.updated":
        run.setNamed();
        if (run.fromStart) {
          void this.#loadThread();
          break;
        }
        state.setThread(event.thread as Thread);
        events.threadChanged();
        events.threadsChanged();
        if (event.type === "thread.created") events.runBegan((event.thread as Thread).id, run.id);
        break;
      case "client_effect":
        if (isFresh(run.id, cursor)) events.effect(String(event.name), (event.data ?? {}) as Record<string, unknown>);
        break;
      case "error":
        run.hasFailed = true;
        state.put({
          id: `error:${run.pendingId}`,
          type: "error",
          ...(typeof event.message === "string" && { message: event.message }),
          canRetry: event.allow_retry === true,
          again: run.again,
        });
        events.failed(String(event.message ?? event.code ?? ""));
        break;
      case "notice":
        state.put({
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
    events.changed();
  }

  /** The thread as the server has it: what a replay says of it may be older than its name. The last answer counts. */
  async #loadThread(): Promise<void> {
    const { signal, state } = this;
    const asked = ++this.#threadLoads;
    try {
      const params = { thread_id: state.id };
      const thread = await unlessLeft(signal, () => this.api.call<Thread>("threads.get_by_id", params));
      if (thread === null || asked !== this.#threadLoads) return;
      state.setThread(thread);
      this.events.threadChanged();
      this.events.changed();
    } catch (error) {
      // What is shown stays; coming back to the page asks again.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #applyItem(run: Run, event: StreamEvent): void {
    const { state } = this;
    const item = event.item as ThreadItem | undefined;
    const wasDone = item !== undefined && state.items.has(item.id) && !state.open.has(item.id);
    state.apply(event);
    const { awaited } = this;
    if (awaited !== null && item?.id === awaited.itemId && !isPendingCall(item)) this.release(awaited);
    if (event.type !== "thread.item.done" || item === undefined) return;
    if (item.type === "user_message") state.remove(run.pendingId);
    if (item.type === "assistant_message" && !wasDone) this.events.answered(item);
  }

  /** @param status null where the answer ended without saying how: what is missing of it is in the thread, in the end */
  async #ended(run: Run, status: string | null, signal: AbortSignal): Promise<void> {
    const isLeft = status === null && run.id !== null;
    if (isLeft && !run.hasFailed) await this.#untilOver(run, signal);
    if (signal.aborted) return;
    const isOverlapped = this.runs.size > 1;
    if (run.pendingCall !== null && !run.hasFailed && (status === "completed" || run.id === null)) {
      const how = run.fromStart ? "watched" : "began";
      this.#await(new AwaitedCall(run.pendingCall, run.id, how));
    }
    this.#remove(run);
    // A run that could not be followed to its end may be followed again.
    if (run.id !== null && !(isLeft && run.hasFailed)) this.#finished.add(run.id);
    this.change((state) => {
      for (const id of run.openItems) state.open.delete(id);
      state.remove(run.pendingId);
      if (status === "cancelled") state.put({ id: `stopped:${run.id ?? run.pendingId}`, type: "stopped" });
      if (status === "failed" && !run.hasFailed) {
        state.put({ id: `error:${run.pendingId}`, type: "error", canRetry: true, again: run.again });
        this.events.failed("The run has failed.");
      }
    });
    if (status === "cancelled") this.events.stopped();
    if (status === null || isOverlapped || run.touchedOthers || this.#wasAnsweredElsewhere(run))
      await this.#reload(signal);
    if (!signal.aborted) await this.#followNext(run, signal);
  }

  /** A client tool call is completed by a request, not by an event: who did not post it has not seen it. */
  #wasAnsweredElsewhere(run: Run): boolean {
    const { items, last } = this.state;
    const isPending = (item: object) => "status" in item && item.status === "pending";
    return run.fromStart && [...items.values()].some((item) => isPending(item) && item !== last);
  }

  /** Its events are gone but the run may not be over: its end is all that is left to wait for. */
  async #untilOver(run: Run, signal: AbortSignal): Promise<void> {
    while (!signal.aborted && this.state.id !== null) {
      const found = await this.#activityUnlessAway(signal);
      if (found !== "away") {
        await found.run?.response.body?.cancel();
        if (found.run?.runId !== run.id) return;
      }
      await pause(POLL_MS, signal).catch(() => {});
    }
  }

  async #reload(signal: AbortSignal): Promise<void> {
    if (this.state.id === null) return;
    const { id, mark } = this.state;
    this.#isStale = false;
    try {
      const page = await this.newestItems(id);
      if (!signal.aborted) this.change((state) => state.loadNewest(page, mark));
    } catch (error) {
      // What is shown stays; coming back to the page asks again.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** Another run of the thread may have waited for this one. */
  async #followNext(run: Run, signal: AbortSignal): Promise<void> {
    if (this.isBusy || this.state.id === null) return;
    const found = await this.#activityUnlessAway(signal);
    const { run: active, awaits } = found === "away" ? { run: null, awaits: null } : found;
    if (signal.aborted || this.isBusy || active?.runId === run.id) await active?.response.body?.cancel();
    if (signal.aborted || this.isBusy) return;
    if (active !== null && active.runId !== run.id && this.#follow(active)) return;
    // What another tab has sent may have been answered by now.
    if (this.#isStale) await this.#reload(signal);
    if (!signal.aborted && !this.isBusy) this.#settle(run.fromStart ? "watched" : "began", awaits);
  }

  async #activityUnlessAway(signal: AbortSignal): Promise<ThreadActivity | "away"> {
    try {
      return await this.api.activity(this.state.id ?? "", signal);
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error;
      return "away";
    }
  }

  #add(run: Run): void {
    this.runs.add(run);
    this.#respond();
  }

  #remove(run: Run): void {
    run.setNamed();
    this.runs.delete(run);
    this.#respond();
  }

  #respond(): void {
    if (this.isBusy === this.#isResponding) return;
    this.#isResponding = this.isBusy;
    this.events.responding(this.isBusy);
  }

  /** Nothing runs any more. A server that knows of no waits leaves a pending call as the thread's last item. */
  #settle(how: Settled, awaits: AwaitedOutput | null): void {
    const { last } = this.state;
    if (awaits !== null) this.#await(new AwaitedCall(awaits.itemId, awaits.runId, how, awaits.secondsLeft));
    else if (last !== undefined && isPendingCall(last)) this.#await(new AwaitedCall(last.id, null, how));
    if (this.isBusy) return;
    if (last?.type === "user_message" && !this.state.hasLocal) {
      this.change((state) => state.put({ id: `unanswered:${last.id}`, type: "unanswered" }));
    }
  }
}

function isPendingCall(item: ThreadItem): boolean {
  return item.type === "client_tool_call" && item.status === "pending";
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** Null where the thread was left meanwhile, whatever came of it. */
async function unlessLeft<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result | null> {
  try {
    const result = await work();
    return signal.aborted ? null : result;
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** The events with the one before them that was read already. */
async function* joined(
  first: IteratorResult<ReceivedEvent, string | null>,
  rest: AsyncGenerator<ReceivedEvent, string | null>,
): AsyncGenerator<ReceivedEvent, string | null> {
  if (first.done) return first.value;
  yield first.value;
  return yield* rest;
}
