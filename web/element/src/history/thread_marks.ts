import type { Api } from "../server/api.js";
import { type RunMark, RunMarks } from "./run_marks.js";
import { RunWatch } from "./run_watch.js";

/** The ids of the threads with a mark. */
export interface MarkedThreads {
  readonly running: readonly string[];
  readonly finished: readonly string[];
}

/** The marks of the threads, and the watch over those that run and are not open. */
export class ThreadMarks {
  readonly #marks = new RunMarks();
  readonly #watch: RunWatch;

  /**
   * @param changed another thread is running, or finished unseen, than before
   * @param signal ends the watch
   */
  constructor(
    api: Api,
    private readonly changed: (marked: MarkedThreads) => void,
    signal: AbortSignal,
  ) {
    const ended = (threadId: string) => this.#report(this.#marks.ended(threadId, false));
    const dropped = (threadId: string) => this.#report(this.#marks.forget(threadId));
    this.#watch = new RunWatch(api, { ended, dropped }, signal);
  }

  of(threadId: string): RunMark | null {
    return this.#marks.of(threadId);
  }

  /** Marks the open thread: its turn goes on, or the person sees that it is over. */
  mark(threadId: string, isResponding: boolean): void {
    this.#watch.delete(threadId);
    const isSeen = document.visibilityState === "visible";
    this.#report(isResponding ? this.#marks.began(threadId) : this.#marks.ended(threadId, isSeen));
  }

  /** Marks a thread that is not open, and in which a run goes on, until that has ended. */
  watch(threadId: string): void {
    this.#watch.add(threadId);
    this.#report(this.#marks.began(threadId));
  }

  /** The person sees the thread. */
  seen(threadId: string): void {
    this.#report(this.#marks.seen(threadId));
  }

  /** Forgets a thread that was deleted. */
  forget(threadId: string): void {
    this.#watch.delete(threadId);
    this.#report(this.#marks.forget(threadId));
  }

  #report(isNews: boolean): void {
    if (isNews) this.changed({ running: this.#marks.all("running"), finished: this.#marks.all("finished") });
  }
}
