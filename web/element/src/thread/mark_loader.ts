import type { MarkedRun } from "../server/protocol.js";
import { unlessLeft } from "./leaving.js";
import { showMarks } from "./marks.js";
import type { OpenThread } from "./open_thread.js";
import type { ThreadQueries } from "./queries.js";

/** Loads the marks of the open thread. Nothing waits for them, because a thread can be read without them. */
export class MarkLoader {
  #requests = 0;
  /** The last request that was on its way when nothing waited. */
  #requestsBefore = 0;

  constructor(
    private readonly thread: OpenThread,
    private readonly queries: ThreadQueries,
  ) {}

  /**
   * Asks for the marks, beside the items. Returns what shows them once they come, to be called when the items are shown
   * that they belong to. Of several requests the answer of the last one counts.
   *
   * @param cut the run that the page could not follow to its end
   */
  ask(threadId: string, signal: AbortSignal, cut: string | null = null): () => void {
    const request = ++this.#requests;
    const followed = new Set([...this.#followed(), ...(cut === null ? [] : [cut])]);
    const asked = unlessLeft(signal, () => this.queries.marks(threadId, signal));
    return () => {
      void asked.then((marks) => {
        if (marks === null || signal.aborted || request !== this.#requests) return;
        const known = new Set([...followed, ...this.#followed()]);
        const isTold = ({ status }: MarkedRun) => status !== "waiting" || request > this.#requestsBefore;
        this.thread.change((state) => showMarks(state, { ...marks, runs: marks.runs.filter(isTold) }, known));
      });
    };
  }

  /** Takes it that no message waits, also where marks that are on their way say so: their answer may be older. */
  nothingWaits(): void {
    this.#requestsBefore = this.#requests;
    if (this.thread.state.waiting.size > 0) this.thread.change((state) => state.waiting.clear());
  }

  /** The ids of the runs that the page follows. */
  #followed(): readonly string[] {
    return [...this.thread.runs].flatMap(({ id }) => id ?? []);
  }
}
