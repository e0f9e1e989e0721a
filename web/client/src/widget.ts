import { readEvents } from "./events.js";
import { report } from "./hooks.js";
import type { ChatKitFetch } from "./options.js";
import { RESUME_ACTION } from "./protocol.js";

/**
 * The methods of the stock element (`OpenAIChatKit` of @openai/chatkit) that resuming needs; other elements may have
 * them.
 */
export interface Widget {
  fetchUpdates(): Promise<void>;
  sendCustomAction(action: { type: string; payload?: Record<string, unknown> }): Promise<void>;
}

export interface ResumeInWidgetOptions {
  readonly signal?: AbortSignal;
  /**
   * Shows the words as they arrive, through a custom action that the element sends and `fetch` answers with the run.
   * It is unproven, because it depends on how the stock element treats the answer of an action.
   */
  readonly live?: boolean;
}

/** The events after which the thread on the server has changed. */
const STORED = new Set(["thread.item.done", "thread.item.removed", "thread.item.replaced", "thread.updated"]);

/** Ends what each widget follows; a widget that is told to follow again leaves its earlier thread. */
const following = new WeakMap<Widget, AbortController>();

/**
 * Makes the stock widget show its thread's active run after a reload: the widget fetches the thread whenever an item of
 * the run is finished, and once more at the run's end. Runs that wait in the same thread come next. Resolves when no
 * run is left, when the widget shows the run by itself, and when it is told to follow another thread. Raises where the
 * server cannot be reached or refuses.
 */
export async function resumeInWidget(
  fetch: ChatKitFetch,
  widget: Widget,
  threadId: string,
  { signal, live = false }: ResumeInWidgetOptions = {},
): Promise<void> {
  following.get(widget)?.abort();
  const leaving = new AbortController();
  following.set(widget, leaving);
  const onAbort = () => leaving.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { signal: leaving.signal });
  if (signal?.aborted) onAbort();
  try {
    await followThread(fetch, widget, threadId, leaving.signal, live);
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
    signal?.throwIfAborted();
  } finally {
    leaving.abort();
    if (following.get(widget) === leaving) following.delete(widget);
  }
}

async function followThread(
  fetch: ChatKitFetch,
  widget: Widget,
  threadId: string,
  signal: AbortSignal,
  live: boolean,
): Promise<void> {
  const seen = new Set<string>();
  for (;;) {
    const run = await fetch.resumeThread(threadId, { signal });
    // The row of an ended run may be active for a moment longer.
    if (run === null || run.isFollowed || seen.has(run.runId)) {
      await run?.response.body?.cancel();
      return;
    }
    seen.add(run.runId);
    if (live) {
      await run.response.body?.cancel();
      await widget.sendCustomAction({ type: RESUME_ACTION, payload: { run_id: run.runId } });
      return;
    }
    const updates = new Updates(() => widget.fetchUpdates());
    for await (const { event } of readEvents(run.response)) {
      if (STORED.has(event.type)) updates.request();
    }
    updates.request();
    await updates.settled();
  }
}

/** Fetches one at a time, and once more for all requests that came meanwhile. */
class Updates {
  #running: Promise<void> | null = null;
  #again = false;

  constructor(private readonly fetch: () => Promise<void>) {}

  request(): void {
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
  }

  async settled(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  async #run(): Promise<void> {
    do {
      this.#again = false;
      try {
        await this.fetch();
      } catch (error) {
        // The next fetch, or the one at the run's end, brings the same items.
        report(error);
      }
    } while (this.#again);
  }
}
