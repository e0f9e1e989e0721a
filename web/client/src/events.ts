import { END, type RunStatus } from "./follow.js";
import { SseSplitter } from "./sse.js";

/** An event of the ChatKit protocol, and the cursor at which it stands. */
export interface ReceivedEvent {
  readonly event: { readonly type: string; readonly [field: string]: unknown };
  readonly cursor: string | null;
}

/**
 * The events of an answer, one by one as they come, for an own interface. Raises what breaks the answer's body.
 *
 * @param signal ends the reading, and the connection with it; it does not stop the run
 * @returns how the run has ended; null where the answer does not say
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
        if (event.kind === "comment") status = (END.exec(event.text)?.[1] as RunStatus | undefined) ?? status;
      }
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    // Its reader went away first, or the body is broken and has said so.
    await reader.cancel().catch(() => {});
  }
}
