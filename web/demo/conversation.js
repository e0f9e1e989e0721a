import { ApiError } from "./api.js";
import { applyEvent } from "./apply_event.js";
import { pause } from "./backoff.js";
import { followRun, postUntilAnswered } from "./run_follower.js";
import { Run } from "./run.js";
import { ThreadState } from "./thread_state.js";

const PAGE_ITEMS = 50;
const POLL_MS = 2_000;
const ACTIVE = ["waiting", "queued", "running"];

/**
 * The open thread: its state, and the runs of it that this page follows.
 *
 * Emits `change` (something to draw), `thread` (another thread, or its title or status), `failure` ({error}: a
 * request was refused) and `settled` ({began}: nothing runs any more; `began` where the last run began here).
 */
export class Conversation extends EventTarget {
  /** Runs in flight here, those still being posted among them. */
  runs = new Set();
  state = new ThreadState();
  #scope = new AbortController();
  #finished = new Set();

  constructor({ api, tabs, effects, announcer }) {
    super();
    Object.assign(this, { api, tabs, effects, announcer });
  }

  get isRunning() {
    return this.runs.size > 0;
  }

  /** Aborts when the page leaves this thread. */
  get signal() {
    return this.#scope.signal;
  }

  /** Leaves the thread; its runs go on without this page. */
  clear() {
    this.#scope.abort();
    this.#scope = new AbortController();
    this.runs = new Set();
    this.state = new ThreadState();
    this.#emit("thread");
    this.#emit("change");
  }

  /** Loads a thread and follows its active run from that run's start. Throws ApiError. */
  async open(threadId) {
    this.clear();
    const { signal } = this;
    // The run is asked for before the items: a run that ends in between has then stored all of them.
    const [thread, active] = await Promise.all([
      this.api.call("threads.get_by_id", { thread_id: threadId }),
      this.api.activeRun(threadId),
    ]);
    const page = await this.newestItems(threadId);
    if (signal.aborted) return;
    this.state.setThread(thread);
    this.state.loadNewest(page);
    this.#emit("thread");
    this.#emit("change");
    if (active) this.follow(active.id);
    else this.#settle(false);
  }

  /** The newest items of a thread, newest first. */
  newestItems(threadId, limit = PAGE_ITEMS) {
    return this.api.call("items.list", { thread_id: threadId, limit, order: "desc" });
  }

  async loadEarlier() {
    const { id, earlierAfter: after } = this.state;
    const page = await this.api.call("items.list", { thread_id: id, limit: PAGE_ITEMS, order: "desc", after });
    if (this.state.id !== id) return;
    this.state.loadEarlier(page);
    this.#emit("change");
  }

  /** Changes the state from outside a run. */
  change(alter) {
    alter(this.state);
    this.#emit("change");
  }

  /** Follows a run that this page did not begin, from its start. */
  follow(runId) {
    if (this.#finished.has(runId) || [...this.runs].some((run) => run.id === runId)) return;
    this.#join(new Run({ id: runId, fromStart: true }));
  }

  /** What another tab or device may have done meanwhile: newer items, or a run. */
  async sync() {
    const { signal } = this;
    const { id } = this.state;
    if (!id || this.isRunning) return;
    try {
      const active = await this.api.activeRun(id);
      const page = await this.newestItems(id);
      if (signal.aborted || this.isRunning) return;
      if (!this.state.equals(page.data)) this.change((state) => state.loadNewest(page));
      if (active) this.follow(active.id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /**
   * Posts a streaming request and follows its run.
   *
   * @param {string} type
   * @param {object} params
   * @param {object} [options]
   * @param {object} [options.pending] the user's message, shown until the server has it
   * @param {() => void} [options.again] what Retry does after a failure, where that is not answering the message again
   * @returns {Promise<boolean>} whether the server accepted it
   */
  async start(type, params, { pending = null, again = null } = {}) {
    const { signal } = this;
    const run = new Run({ again });
    this.runs.add(run);
    this.state.dropLocal("error", "lost", "unanswered");
    if (pending) this.state.putLocal({ ...pending, id: run.pendingId, type: "user_message", pending: true });
    this.#emit("change");
    let response;
    try {
      response = await postUntilAnswered(this.api, type, params, run.key);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!signal.aborted) this.#refused(run, error);
      return false;
    }
    run.id = response.headers.get("X-Run-Id");
    const followed = [...this.runs].some((other) => other !== run && other.id === run.id);
    if (signal.aborted || followed) {
      this.runs.delete(run);
      response.body.cancel();
      return true;
    }
    if (this.state.id) this.tabs.runStarted(this.state.id, run.id);
    this.#observe(run, { response });
    return true;
  }

  #refused(run, error) {
    this.runs.delete(run);
    this.state.remove(run.pendingId);
    this.#emit("change");
    this.#emit("failure", { error });
  }

  #join(run, cursor = null) {
    this.runs.add(run);
    this.#emit("change");
    this.#observe(run, { cursor });
  }

  async #observe(run, from) {
    const { api, signal } = this;
    const onEvent = (event, cursor) => this.#apply(run, event, cursor);
    const onConnection = (connected) => {
      run.connected = connected;
      this.#emit("change");
    };
    try {
      const { status, cursor } = await followRun({ ...from, api, runId: run.id, onEvent, onConnection, signal });
      if (status === "lost") return this.#lost(run, cursor);
      await this.#ended(run, status, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #apply(run, event, cursor) {
    const { state, effects, announcer } = this;
    applyEvent({ state, run, event, cursor, effects, announcer });
    if (event.thread) this.#threadChanged(run, event);
    this.#emit("change");
  }

  #threadChanged(run, { type, thread }) {
    this.#emit("thread");
    if (run.fromStart) return;
    if (type === "thread.created") this.tabs.runStarted(thread.id, run.id);
    this.tabs.threadsChanged();
  }

  #lost(run, cursor) {
    this.runs.delete(run);
    const reconnect = () => {
      this.state.dropLocal("lost");
      this.#join(run, cursor);
    };
    this.change((state) => state.putLocal({ id: `lost:${run.id}`, type: "lost", reconnect }));
  }

  async #ended(run, status, signal) {
    if (status === "gone") await this.#untilOver(run, signal);
    const overlapped = this.runs.size > 1;
    this.runs.delete(run);
    this.#finished.add(run.id);
    this.change((state) => {
      for (const id of run.openItems) state.open.delete(id);
      state.remove(run.pendingId);
      if (status === "cancelled") state.putLocal({ id: `stopped:${run.id}`, type: "stopped" });
      if (status === "failed" && !run.failed) {
        state.putLocal({ id: `error:${run.id}`, type: "error", allow_retry: true, again: run.again });
      }
    });
    if (status === "cancelled") this.announcer.say("Stopped");
    const partlyUnseen = ["ended", "gone", "missing"].includes(status);
    if (partlyUnseen || overlapped || run.touchedOthers || this.#answeredElsewhere(run)) await this.#reload(signal);
    await this.#next(run, signal);
  }

  /** A client tool call is completed by a request, not by an event: who did not post it has not seen it. */
  #answeredElsewhere(run) {
    const { items, last } = this.state;
    return run.fromStart && [...items.values()].some((item) => item.status === "pending" && item !== last);
  }

  /** The journal is gone but the run may not be over: its end is all that is left to wait for. */
  async #untilOver(run, signal) {
    run.progress = { text: "Waiting for the answer" };
    this.#emit("change");
    for (;;) {
      const known = await this.api.run(run.id).catch((error) => error);
      const over = known instanceof Error ? known.status && !known.isTransient : !ACTIVE.includes(known.status);
      if (over) return;
      await pause(POLL_MS, signal);
    }
  }

  async #reload(signal) {
    const page = await this.newestItems(this.state.id).catch(() => null);
    if (page && !signal.aborted) this.change((state) => state.loadNewest(page));
  }

  /** Another run of the thread may have waited for this one. */
  async #next(run, signal) {
    if (this.isRunning || !this.state.id) return;
    const active = await this.api.activeRun(this.state.id).catch(() => null);
    if (signal.aborted || this.isRunning) return;
    if (active && !this.#finished.has(active.id)) this.follow(active.id);
    else this.#settle(!run.fromStart);
  }

  #settle(began) {
    const { last } = this.state;
    if (last?.type === "user_message" && !this.state.hasLocal("error", "stopped", "lost", "notice")) {
      this.change((state) => state.putLocal({ id: `unanswered:${last.id}`, type: "unanswered" }));
    }
    this.#emit("settled", { began });
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(Object.assign(new Event(type), detail));
  }
}
