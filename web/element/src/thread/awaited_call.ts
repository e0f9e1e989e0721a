import type { ThreadItem } from "../server/protocol.js";

/**
 * How this page came to the end of the last run: it `started` the run, it `followed` a run that began elsewhere, or it
 * `opened` the thread, or loaded it again, after the run.
 */
export type RunOrigin = "started" | "followed" | "opened";

/** Whether the item is a client tool call without its output. */
export function isPendingCall(item: ThreadItem): boolean {
  return item.type === "client_tool_call" && item.status === "pending";
}

/** A client tool call that ended a run. The turn goes on until the call has its output or is given up. */
export class AwaitedCall {
  isStopping = false;
  /** Whether the server has said that it awaits the call; only such a server can say that it awaits it no longer. */
  isKnown: boolean;
  readonly #over = new AbortController();

  /**
   * @param runId the run that made the call; null on a server that knows no runs
   * @param secondsLeft the seconds until the server gives the call up; null where the server has not told them
   */
  constructor(
    readonly itemId: string,
    readonly runId: string | null,
    readonly origin: RunOrigin,
    public secondsLeft: number | null = null,
  ) {
    this.isKnown = secondsLeft !== null;
  }

  /** Aborts when the call has its output, was given up, or the page has left the thread. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Records that the server awaits the call. */
  confirm(secondsLeft: number): void {
    this.isKnown = true;
    this.secondsLeft = secondsLeft;
  }

  end(): void {
    this.#over.abort(new DOMException("The call is not awaited any more.", "AbortError"));
  }
}
