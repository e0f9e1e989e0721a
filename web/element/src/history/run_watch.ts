import { type Api, ApiError } from "../server/api.js";
import { pause } from "../ui/pause.js";

const POLL_MS = 5_000;
/** Of more threads only the newest are asked for, so that their number does not become one of requests. */
const MAX_WATCHED = 8;

/** The listeners of the watch. */
export interface RunWatchListeners {
  /** The thread has no active run any more. */
  readonly ended: (threadId: string) => void;
  /** The thread is not watched any more, because there are too many. Whether its run goes on is not known. */
  readonly dropped: (threadId: string) => void;
}

/** Asks for the runs of threads that are not open, from when one begins until it has ended. */
export class RunWatch {
  readonly #threadIds = new Set<string>();
  #isRunning = false;

  /** @param signal ends the watch */
  constructor(
    private readonly api: Api,
    private readonly listeners: RunWatchListeners,
    private readonly signal: AbortSignal,
  ) {}

  add(threadId: string): void {
    this.#threadIds.delete(threadId);
    this.#threadIds.add(threadId);
    const [oldest] = this.#threadIds;
    if (this.#threadIds.size > MAX_WATCHED && oldest !== undefined) {
      this.#threadIds.delete(oldest);
      this.listeners.dropped(oldest);
    }
    if (!this.#isRunning) void this.#run();
  }

  delete(threadId: string): void {
    this.#threadIds.delete(threadId);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      while (this.#threadIds.size > 0 && !this.signal.aborted) {
        await pause(POLL_MS, this.signal).catch(() => {});
        for (const threadId of [...this.#threadIds]) {
          if (this.signal.aborted) return;
          if ((await this.#isOver(threadId)) && this.#threadIds.delete(threadId)) this.listeners.ended(threadId);
        }
      }
    } finally {
      this.#isRunning = false;
    }
  }

  async #isOver(threadId: string): Promise<boolean> {
    try {
      return !(await this.api.isResponding(threadId, this.signal));
    } catch (error) {
      // The next turn asks again; a chat that has ended asks no more.
      if (!(error instanceof ApiError) && !this.signal.aborted) throw error;
      return false;
    }
  }
}
