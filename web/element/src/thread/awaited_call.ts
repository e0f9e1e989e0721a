/** The last run began here, or was followed here; or the thread was opened, or looked at again, without one. */
export type Settled = "began" | "watched" | "opened";

/** A client tool call with which a run has ended: until it has its output, or is given up, its turn is not over. */
export class AwaitedCall {
  isStopping = false;
  /** The server has said that it waits, and so it can say when it does not any more. */
  isKnown: boolean;
  readonly #over = new AbortController();

  /**
   * @param runId the run that called; null on a server that knows no runs
   * @param secondsLeft until the server gives the call up, as far as it has said
   */
  constructor(
    readonly itemId: string,
    readonly runId: string | null,
    readonly how: Settled,
    public secondsLeft: number | null = null,
  ) {
    this.isKnown = secondsLeft !== null;
  }

  /** Aborts when the call has its output, was given up, or the thread was left. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** The server waits for it. */
  know(secondsLeft: number): void {
    this.isKnown = true;
    this.secondsLeft = secondsLeft;
  }

  end(): void {
    this.#over.abort(new DOMException("The call is not awaited any more.", "AbortError"));
  }
}
