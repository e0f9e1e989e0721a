import { readEvents } from "./events.js";
import type { ChatKitFetch } from "./options.js";
import { RESUME_ACTION } from "./protocol.js";
import { report } from "./telemetry.js";

/** What is needed of the stock element (`OpenAIChatKit` of @openai/chatkit), or of one that is like it. */
export interface Widget {
  fetchUpdates(): Promise<void>;
  sendCustomAction(action: { type: string; payload?: Record<string, unknown> }): Promise<void>;
}

export interface ResumeInWidgetOptions {
  readonly signal?: AbortSignal;
  /**
   * Show the words as they come, through a custom action that the element sends and that `fetch` answers with the run.
   * Unproven: it rests on how the stock element treats the answer of an action.
   */
  readonly live?: boolean;
}

/** After these the thread on the server is another one than before. */
const STORED = new Set(["thread.item.done", "thread.item.removed", "thread.item.replaced", "thread.updated"]);

/** What each widget follows; one that is told to follow again leaves what it followed before. */
const following = new WeakMap<Widget, AbortController>();

/**
 * Lets the stock widget show the run that its thread has active, after a reload: the widget fetches the thread as the
 * run's items are finished, and once more at its end. Runs that wait in the same thread follow. Resolves when none is
 * left, when the widget shows the run by itself, and when it is to follow another thread; raises where the server cannot
 * be reached or refuses.
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
    await followed(fetch, widget, threadId, leaving.signal, live);
  } catch (error) {
    if (!leaving.signal.aborted) throw error;
    signal?.throwIfAborted();
  } finally {
    leaving.abort();
    if (following.get(widget) === leaving) following.delete(widget);
  }
}

async function followed(
  fetch: ChatKitFetch,
  widget: Widget,
  threadId: string,
  signal: AbortSignal,
  live: boolean,
): Promise<void> {
  const seen = new Set<string>();
  for (;;) {
    const run = await fetch.resumeThread(threadId, { signal });
    // The row of a run that has ended may be active for a moment longer.
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
      if (STORED.has(event.type)) updates.ask();
    }
    updates.ask();
    await updates.settled();
  }
}

/** One fetch at a time, and one more after it for all that was asked for meanwhile. */
class Updates {
  #running: Promise<void> | null = null;
  #again = false;

  constructor(private readonly fetch: () => Promise<void>) {}

  ask(): void {
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
        // The next one, or the one at the end, brings what this one could not.
        report(error);
      }
    } while (this.#again);
  }
}
