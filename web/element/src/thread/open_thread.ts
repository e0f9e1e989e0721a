import type { AwaitedCall } from "./awaited_call.js";
import type { ConversationEvents } from "./events.js";
import { aborted } from "./leaving.js";
import type { Run } from "./run.js";
import { ThreadState } from "./state.js";

/** A thread that is being loaded. */
export interface Opening {
  readonly id: string;
  /** Whether the server could not be reached so far. The page goes on trying. */
  readonly isUnreached: boolean;
}

/**
 * The thread that the page shows: its state, the runs that the page follows, and the client tool call that it awaits.
 */
export class OpenThread {
  state = new ThreadState();
  /** The runs that the page follows, and those whose request it is still sending. */
  runs = new Set<Run>();
  /** The client tool call that the turn has come to; null where it has come to none. */
  awaited: AwaitedCall | null = null;
  /** The thread that is being loaded; null where none is. */
  opening: Opening | null = null;
  /** Whether another tab has changed the thread during a turn or a load here, and the page has not loaded it since. */
  isStale = false;
  /** Settles when the thread has its id, or will get none. */
  naming: Promise<unknown> | null = null;
  #toldResponding = false;
  #scope = new AbortController();
  /** The ids of the runs whose end the page has seen, in every thread. */
  readonly #ended = new Set<string>();

  constructor(private readonly events: ConversationEvents) {}

  /** The thread's id, after the wait for a thread that is being loaded or created; null where there is no thread. */
  async id(): Promise<string | null> {
    await Promise.race([this.naming, aborted(this.signal)]);
    return this.state.id;
  }

  /** Whether the turn goes on: a run is active or waits, or a client tool call is awaited. */
  get isBusy(): boolean {
    return this.runs.size > 0 || this.awaited !== null;
  }

  /** Whether the server responds: a run that it has accepted goes on or waits, or a client tool call is awaited. */
  get isResponding(): boolean {
    return this.awaited !== null || [...this.runs].some((run) => run.isAccepted);
  }

  /** Aborts when the page leaves this thread. */
  get signal(): AbortSignal {
    return this.#scope.signal;
  }

  /** Leaves the thread and shows an empty one. The runs of the thread go on. */
  leave(): void {
    const leftId = [...this.runs].some(({ id }) => id !== null) ? this.state.id : null;
    this.#scope.abort(new DOMException("The thread was left.", "AbortError"));
    this.#scope = new AbortController();
    this.runs = new Set();
    this.awaited?.end();
    this.awaited = null;
    this.isStale = false;
    this.#reportResponding();
    this.naming = null;
    this.opening = null;
    this.state = new ThreadState();
    if (leftId !== null) this.events.leftRunning(leftId);
    this.events.threadChanged();
    this.events.changed();
  }

  setOpening(opening: Opening | null): void {
    this.opening = opening;
    this.events.threadChanged();
    this.events.changed();
  }

  /** Changes the state and has it drawn. */
  change(alter: (state: ThreadState) => void): void {
    alter(this.state);
    this.markWaiting();
    this.events.changed();
  }

  /** Marks the messages whose runs wait behind another run, or behind the client tool call that is awaited. */
  markWaiting(): void {
    const waiting = new Map(this.state.waiting);
    let isBehind = this.awaited !== null;
    for (const run of this.runs) {
      run.isWaiting = isBehind && run.id !== null && !run.hasBegun;
      if (run.isWaiting && run.id !== null && run.messageId !== null) waiting.set(run.messageId, run.id);
      else if (run.messageId !== null) waiting.delete(run.messageId);
      isBehind = true;
    }
    this.state.markWaiting(waiting);
  }

  addRun(run: Run): void {
    this.runs.add(run);
    this.#reportResponding();
  }

  removeRun(run: Run): void {
    run.setNamed();
    this.runs.delete(run);
    this.markWaiting();
    this.#reportResponding();
  }

  /** Whether the page follows the run with this id. */
  isFollowed(runId: string): boolean {
    return [...this.runs].some(({ id }) => id === runId);
  }

  hasEnded(runId: string): boolean {
    return this.#ended.has(runId);
  }

  markEnded(runId: string): void {
    this.#ended.add(runId);
  }

  /** Puts the call in the place of the one that was awaited before. */
  await(call: AwaitedCall): void {
    this.awaited?.end();
    this.awaited = call;
    this.#reportResponding();
    this.events.changed();
  }

  /** Ends the wait for the call, because it has its output or the server awaits it no longer. */
  release(call: AwaitedCall): void {
    if (call !== this.awaited) return;
    this.awaited = null;
    call.end();
    this.#reportResponding();
    this.events.changed();
  }

  /** Marks a run as accepted by the server, which is then responding. */
  accept(run: Run): void {
    run.isAccepted = true;
    this.#reportResponding();
  }

  #reportResponding(): void {
    const { isResponding } = this;
    if (isResponding === this.#toldResponding) return;
    this.#toldResponding = isResponding;
    this.events.responding(isResponding);
  }
}
