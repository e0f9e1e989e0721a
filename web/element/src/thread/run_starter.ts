import { type ReceivedEvent, readEvents } from "@relaykit/client";
import { type Api, ApiError, codeOf } from "../server/api.js";
import type { Again, UserMessage } from "../server/protocol.js";
import type { ConversationEvents } from "./events.js";
import { isAbort } from "./leaving.js";
import { endRetries } from "./marks.js";
import type { OpenThread } from "./open_thread.js";
import { Run } from "./run.js";
import type { RunStream, TurnFollower } from "./turn_follower.js";

export interface StartOptions {
  /** The user's message, which is shown until the server has it. */
  readonly pending?: Omit<UserMessage, "id" | "type"> | null;
  /** The action of Retry after a failure, where that is not to answer the message again. */
  readonly again?: Again | null;
  /** Gets what settles when the run has ended or its thread was left; not called where another answer follows it. */
  readonly following?: (run: Promise<void>) => void;
  /** Hears of a refusal in the place of the person and the page. */
  readonly refused?: (error: ApiError) => void;
}

/** Posts the requests that begin runs, and has their runs followed. */
export class RunStarter {
  constructor(
    private readonly api: Api,
    private readonly thread: OpenThread,
    private readonly follower: TurnFollower,
    private readonly events: ConversationEvents,
  ) {}

  /** Posts a streaming request and follows its run. Returns whether the server accepted the request. */
  async start(
    type: string,
    params: object,
    { pending = null, again = null, following: heard, refused = (error) => this.events.refused(error) }: StartOptions,
  ): Promise<boolean> {
    const { thread } = this;
    const { signal } = thread;
    const run = new Run(null, false, again);
    thread.addRun(run);
    thread.state.dropLocal("unanswered");
    if (pending !== null) thread.state.put({ ...pending, id: run.pendingId, type: "user_message", pending: true });
    this.events.changed();
    if (type === "threads.create") thread.naming = run.named;
    const leaving = new AbortController();
    const leave = () => leaving.abort();
    try {
      const response = await this.api.stream(type, params, run.following.signal);
      run.id = response.headers.get("X-Run-Id");
      if (run.id !== null) this.api.isOurs = true;
      const stream = readEvents(response, leaving.signal);
      const first = run.id === null ? await this.#firstEvent(response, stream) : null;
      if (!signal.aborted) endRetries(thread.state);
      if (signal.aborted || this.#isFollowedTwice(run)) {
        leave();
        await stream.return(null);
        this.#forget(run);
        this.events.threadsChanged(null);
        if (signal.aborted) await this.#followIfOpen(params, run);
        return true;
      }
      signal.addEventListener("abort", leave);
      thread.accept(run);
      if (thread.state.id !== null) this.events.runBegan(thread.state.id, run.id);
      const following = this.follower.observe(run, first === null ? stream : joined(first, stream), signal);
      void following.finally(() => signal.removeEventListener("abort", leave));
      heard?.(following);
      return true;
    } catch (error) {
      this.#forget(run);
      if (run.following.signal.aborted) return true;
      if (!(error instanceof ApiError)) throw error;
      refused(error);
      return false;
    }
  }

  /**
   * The first event of an answer without a run. Throws ApiError where it is an error, because the server then refused
   * the request, and where the answer breaks before it, because the server was not reached.
   */
  async #firstEvent(response: Response, stream: RunStream): Promise<First> {
    let first: First;
    try {
      first = await stream.next();
    } catch (error) {
      throw isAbort(error) ? error : this.api.unreachable();
    }
    if (first.done) return first;
    const { event } = first.value;
    if (event.type === "error") {
      await stream.return(null);
      throw this.api.notBegun(codeOf(response), String(event.message ?? ""));
    }
    this.api.hasRuns = false;
    return first;
  }

  /** Whether the page follows the same run by another answer. */
  #isFollowedTwice(run: Run): boolean {
    return [...this.thread.runs].some((other) => other !== run && other.id !== null && other.id === run.id);
  }

  /** Follows the run where the user left the thread and opened it again while the request was on its way. */
  async #followIfOpen(params: object, run: Run): Promise<void> {
    if (!("thread_id" in params)) return;
    if (params.thread_id !== this.thread.state.id) {
      if (run.id !== null) this.events.leftRunning(String(params.thread_id));
      return;
    }
    try {
      await this.follower.resume();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.events.refused(error);
    }
  }

  #forget(run: Run): void {
    this.thread.removeRun(run);
    if (this.thread.state.remove(run.pendingId)) this.events.changed();
  }
}

type First = IteratorResult<ReceivedEvent, string | null>;

/** The stream with the event before it that was read already. */
async function* joined(first: First, rest: RunStream): RunStream {
  if (first.done) return first.value;
  yield first.value;
  return yield* rest;
}
