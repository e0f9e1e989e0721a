import { type Api, ApiError } from "../server/api.js";
import { pause } from "../ui/pause.js";

const POLL_MS = 5_000;
/** Of more threads only the newest are asked for, so that their number does not become one of requests. */
const MAX_WATCHED = 8;

/** Asks for the runs of threads that are not open, from when one begins until it has ended. */
export class RunWatch {
  readonly #threadIds = new Set<string>();
  #isRunning = false;

  /**
   * @param ended the thread has no active run any more
   * @param signal ends the watch
   */
  constructor(
    private readonly api: Api,
    private readonly ended: (threadId: string) => void,
    private readonly signal: AbortSignal,
  ) {}

  add(threadId: string): void {
    this.#threadIds.delete(threadId);
    this.#threadIds.add(threadId);
    const [oldest] = this.#threadIds;
    if (this.#threadIds.size > MAX_WATCHED && oldest !== undefined) {
      this.#threadIds.delete(oldest);
      this.ended(oldest);
    }
    if (!this.#isRunning) void this.#run();
  }

  delete(threadId: string): void {
    this.#threadIds.delete(threadId);
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#threadIds.size > 0 && !this.signal.aborted) {
      await pause(POLL_MS, this.signal).catch(() => {});
      for (const threadId of [...this.#threadIds]) {
        if (this.signal.aborted) return;
        if ((await this.#isOver(threadId)) && this.#threadIds.delete(threadId)) this.ended(threadId);
      }
    }
    this.#isRunning = false;
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
