/** The mark of a thread: a run is active, or one has ended since the person saw the thread last. */
export type RunMark = "running" | "finished";

/** The threads with an active run, and those that one has ended in while another was open. It is pure. */
export class RunMarks {
  readonly #marks = new Map<string, RunMark>();

  of(threadId: string): RunMark | null {
    return this.#marks.get(threadId) ?? null;
  }

  /** The threads that have the mark. */
  all(mark: RunMark): string[] {
    return [...this.#marks].filter(([, known]) => known === mark).map(([threadId]) => threadId);
  }

  began(threadId: string): boolean {
    return this.#set(threadId, "running");
  }

  /** @param isSeen whether the person sees the thread, so that its end is no news */
  ended(threadId: string, isSeen: boolean): boolean {
    if (!isSeen && this.of(threadId) === "running") return this.#set(threadId, "finished");
    return isSeen ? this.#set(threadId, null) : false;
  }

  /** The person has opened the thread. */
  seen(threadId: string): boolean {
    return this.of(threadId) === "finished" && this.#set(threadId, null);
  }

  forget(threadId: string): boolean {
    return this.#set(threadId, null);
  }

  /** Returns whether the mark is another than before. */
  #set(threadId: string, mark: RunMark | null): boolean {
    if (this.of(threadId) === mark) return false;
    if (mark === null) this.#marks.delete(threadId);
    else this.#marks.set(threadId, mark);
    return true;
  }
}
