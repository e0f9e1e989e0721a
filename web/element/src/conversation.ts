import type { ThreadActivity } from "@relaykit/client";
import { type Api, ApiError } from "./server/api.js";
import type { Page, Shown, ThreadItem, UserMessage } from "./server/protocol.js";
import type { AwaitedCall } from "./thread/awaited_call.js";
import type { ConversationEvents } from "./thread/events.js";
import { unlessLeftOrFailed } from "./thread/leaving.js";
import { MarkLoader } from "./thread/mark_loader.js";
import { type Opening, OpenThread } from "./thread/open_thread.js";
import { ThreadQueries } from "./thread/queries.js";
import type { Run } from "./thread/run.js";
import { RunEvents } from "./thread/run_events.js";
import { RunStarter, type StartOptions } from "./thread/run_starter.js";
import type { ThreadState } from "./thread/state.js";
import { TurnFollower } from "./thread/turn_follower.js";
import { untilReached } from "./ui/until_reached.js";

/** Of pages without an item to be seen no more are loaded at once. */
const MAX_UNSEEN_PAGES = 20;

/** The conversation in the open thread: opens it, keeps it up to date, and begins and follows its runs. */
export class Conversation {
  readonly #thread: OpenThread;
  readonly #queries: ThreadQueries;
  readonly #marks: MarkLoader;
  readonly #follower: TurnFollower;
  readonly #starter: RunStarter;

  constructor(
    api: Api,
    private readonly events: ConversationEvents,
  ) {
    this.#thread = new OpenThread(events);
    this.#queries = new ThreadQueries(api);
    this.#marks = new MarkLoader(this.#thread, this.#queries);
    const runEvents = new RunEvents(this.#thread, this.#queries, events);
    this.#follower = new TurnFollower(this.#thread, this.#queries, runEvents, this.#marks, events);
    this.#starter = new RunStarter(api, this.#thread, this.#follower, events);
  }

  get state(): ThreadState {
    return this.#thread.state;
  }

  /** The runs that the page follows, and those whose request it is still sending. */
  get runs(): ReadonlySet<Run> {
    return this.#thread.runs;
  }

  /** Whether the server responds: a run that it has accepted goes on or waits, or a client tool call is awaited. */
  get isResponding(): boolean {
    return this.#thread.isResponding;
  }

  /** The client tool call that the turn waits for; null where it waits for none. */
  get awaited(): AwaitedCall | null {
    return this.#thread.awaited;
  }

  /** The thread that is being loaded; null where none is. */
  get opening(): Opening | null {
    return this.#thread.opening;
  }

  /** Aborts when the page leaves this thread. */
  get signal(): AbortSignal {
    return this.#thread.signal;
  }

  /** The thread's id, after the wait for a thread that is being loaded or created; null where there is no thread. */
  threadId(): Promise<string | null> {
    return this.#thread.id();
  }

  /** Leaves the thread. Its runs go on without this page. */
  clear(): void {
    this.#thread.leave();
  }

  /** Changes the state from outside a run. */
  change(alter: (state: ThreadState) => void): void {
    this.#thread.change(alter);
  }

  /**
   * Loads a thread and follows its active run from that run's start. A server that cannot be reached is asked until it
   * is, or until the page leaves the thread. Throws ApiError where the server refuses.
   */
  async open(threadId: string): Promise<void> {
    this.clear();
    const { signal } = this;
    const loading = this.#opened(threadId, signal);
    this.#thread.naming = loading.catch(() => {});
    await loading;
    if (!signal.aborted && this.#thread.isStale) await this.#refreshOpened();
  }

  /** Loads what another tab has changed while the thread was being loaded here. */
  async #refreshOpened(): Promise<void> {
    this.#thread.isStale = false;
    try {
      await this.refresh();
    } catch (error) {
      // The thread is open. Coming back to the page asks again.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  async #opened(threadId: string, signal: AbortSignal): Promise<void> {
    this.#thread.setOpening({ id: threadId, isUnreached: false });
    try {
      const load = () => this.#load(threadId, signal);
      await untilReached(signal, load, ({ message }) => {
        this.#thread.setOpening({ id: threadId, isUnreached: true });
        this.events.failed(message);
      });
    } catch (error) {
      // A thread that was left is no failure of the one that is open by now.
      if (signal.aborted) return;
      throw error;
    } finally {
      if (!signal.aborted && this.opening !== null) this.#thread.setOpening(null);
    }
  }

  async #load(threadId: string, signal: AbortSignal): Promise<void> {
    const showMarks = this.#marks.ask(threadId, signal);
    const asked = this.#activityOf(threadId, signal);
    const loaded = await unlessLeftOrFailed(signal, asked, async () => {
      // The activity is asked for before the items: a run that ends in between has then stored all of them.
      const [thread, activity] = await Promise.all([this.#queries.thread(threadId), asked]);
      const page = await this.newestItems(threadId);
      if (signal.aborted) return null;
      this.state.setThread(thread);
      this.state.loadNewest(page);
      await this.#loadUntilSeen(0);
      return activity;
    });
    if (loaded === null) return;
    showMarks();
    this.#thread.setOpening(null);
    if (loaded.run !== null) this.#follower.follow(loaded.run);
    else this.#follower.settle("opened", loaded.awaits);
  }

  /** The thread's activity. After a failure the thread is shown as idle, and coming back to the page asks again. */
  async #activityOf(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    try {
      return await this.#queries.activity(threadId, signal);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { run: null, awaits: null };
    }
  }

  /** The newest items of a thread, newest first. Throws ApiError. */
  newestItems(threadId: string): Promise<Page<ThreadItem>> {
    return this.#queries.newestItems(threadId);
  }

  /** Loads earlier items, until the person can see one more. Throws ApiError. */
  async loadEarlier(): Promise<void> {
    await this.#loadUntilSeen(this.state.seenCount);
    this.events.changed();
  }

  /** Loads pages of earlier items until more items than `count` can be seen, because a server may hide whole pages. */
  async #loadUntilSeen(count: number): Promise<void> {
    const { state } = this;
    for (let pages = 0; pages < MAX_UNSEEN_PAGES; pages += 1) {
      const { id, earlierAfter: after } = state;
      if (state.seenCount > count || !state.hasEarlier || after === null) return;
      const page = await this.#queries.items(id, after);
      if (this.state !== state || state.earlierAfter !== after) return;
      state.loadEarlier(page);
    }
  }

  /** Loads one item again, because a link in it may have expired. Throws ApiError. */
  async reload(item: Shown): Promise<void> {
    const { state } = this;
    const { data } = await this.#queries.items(state.id, state.storedAfter(item.id), 1);
    const found = data.find(({ id }) => id === item.id);
    if (this.state !== state || state.items.get(item.id) !== item || found === undefined) return;
    if (JSON.stringify(found) !== JSON.stringify(item)) this.change(({ items }) => items.set(item.id, found));
  }

  /** Loads the changes of another tab or device: newer items, another title, a run. Throws ApiError. */
  async sync(): Promise<void> {
    const { signal } = this;
    const { id, mark } = this.state;
    if (id === null || this.#thread.isBusy) return;
    const asked = this.#queries.activity(id, signal);
    const loaded = await unlessLeftOrFailed(signal, asked, async () => {
      const { run: active, awaits } = await asked;
      const showMarks = this.#marks.ask(id, signal);
      const [thread, page] = await Promise.all([this.#queries.thread(id), this.newestItems(id)]);
      return { active, awaits, thread, page, showMarks };
    });
    if (loaded === null) return;
    if (this.#thread.isBusy) {
      await loaded.active?.response.body?.cancel();
      return;
    }
    const { active, awaits, thread, page, showMarks } = loaded;
    this.state.setThread(thread);
    this.events.threadChanged();
    if (!this.state.equals(page)) {
      this.change((state) => {
        state.dropLocal("unanswered");
        if (!this.#queries.hasMarks) state.dropLocal("error");
        state.loadNewest(page, mark);
      });
    }
    showMarks();
    if (active === null || !this.#follower.follow(active)) this.#follower.settle("opened", awaits);
  }

  /** Loads the newest items of the open thread, also during a turn. Throws ApiError. */
  async refresh(): Promise<void> {
    const { signal } = this;
    if (this.opening !== null) {
      this.#thread.isStale = true;
      return;
    }
    const { id } = this.state;
    if (id === null) return;
    if (!this.#thread.isBusy) {
      await this.sync();
      return;
    }
    this.#thread.isStale = true;
    const { mark } = this.state;
    const showMarks = this.#marks.ask(id, signal);
    const page = await this.newestItems(id);
    if (signal.aborted) return;
    this.change((state) => state.loadNewest(page, mark));
    showMarks();
    if (this.awaited !== null) await this.isAwaited(this.awaited);
  }

  /**
   * Follows the thread's active run, where the page does not follow it yet. Returns whether it does now. Throws
   * ApiError.
   */
  resume(): Promise<boolean> {
    return this.#follower.resume();
  }

  /** Posts a streaming request and follows its run. Returns whether the server accepted the request. */
  start(type: string, params: object, options: StartOptions = {}): Promise<boolean> {
    return this.#starter.start(type, params, options);
  }

  /**
   * Takes a message back that waits behind another run, so that nobody answers it. Returns false where it waits no
   * more. Throws ApiError.
   */
  async withdraw(message: UserMessage): Promise<boolean> {
    const { signal } = this;
    const { id, waiting } = message;
    if (waiting === undefined) return false;
    const run = [...this.runs].find((each) => each.id === waiting);
    // It is noted before the request, because the end of the run may come before the answer.
    if (run !== undefined) run.isWithdrawn = true;
    let isWithdrawn = false;
    try {
      isWithdrawn = await this.#queries.withdraw(waiting);
    } finally {
      if (run !== undefined) run.isWithdrawn = isWithdrawn;
    }
    if (isWithdrawn && !signal.aborted) {
      this.change((state) => {
        state.waiting.delete(id);
        state.remove(id);
      });
    }
    return isWithdrawn;
  }

  /** Asks whether the server still awaits the call. Where it does not, the page goes on with the thread's next run. */
  isAwaited(call: AwaitedCall): Promise<boolean> {
    return this.#follower.isAwaited(call);
  }

  /** Ends the wait for the call, because it has its output or the server awaits it no longer. */
  release(call: AwaitedCall): void {
    this.#thread.release(call);
  }
}
