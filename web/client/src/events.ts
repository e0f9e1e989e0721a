import { SseSplitter } from "./sse.js";

/** An event of the ChatKit protocol, and the cursor at which it stands. */
export interface ReceivedEvent {
  readonly event: { readonly type: string; readonly [field: string]: unknown };
  readonly cursor: string | null;
}

/** The events of an answer, one by one as they come, for an own interface. Raises what breaks the answer's body. */
export async function* readEvents(response: Response): AsyncGenerator<ReceivedEvent, void> {
  if (response.body === null) return;
  const splitter = new SseSplitter();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const event of splitter.push(value)) {
        if (event.kind === "event") yield { event: JSON.parse(event.data), cursor: event.id };
      }
    }
  } finally {
    // Its reader went away first, or the body is broken and has said so.
    await reader.cancel().catch(() => {});
  }
}
