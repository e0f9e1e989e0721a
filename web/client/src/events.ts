import { endOf, type RunStatus } from "./run_status.js";
import { SseSplitter } from "./sse.js";

/** An event of the ChatKit protocol with its cursor: the id of its entry in the run's journal. */
export interface ReceivedEvent {
  readonly event: { readonly type: string; readonly [field: string]: unknown };
  readonly cursor: string | null;
}

/**
 * Yields the events of an answer one by one as they arrive, for an interface of the site's own. Raises the error that
 * breaks the answer's body.
 *
 * @param signal ends the reading, and the connection with it; it does not stop the run
 * @returns how the run has ended; null where the answer does not say it
 */
export async function* readEvents(
  response: Response,
  signal?: AbortSignal,
): AsyncGenerator<ReceivedEvent, RunStatus | null> {
  let status: RunStatus | null = null;
  if (response.body === null) return status;
  const splitter = new SseSplitter();
  const reader = response.body.getReader();
  const leave = () => void reader.cancel().catch(() => {});
  signal?.addEventListener("abort", leave);
  if (signal?.aborted) leave();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return status;
      for (const event of splitter.push(value)) {
        if (event.kind === "event") yield { event: JSON.parse(event.data), cursor: event.id };
        if (event.kind === "comment") status = endOf(event.text) ?? status;
      }
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    // A failure is ignored because the caller either has left or was given the error of the broken body.
    await reader.cancel().catch(() => {});
  }
}
