import { answerOf, failedAnswer } from "./answer.js";
import { Passing, Refusal } from "./failures.js";
import { Follower, type Means } from "./follow.js";
import { EVENT_STREAM, JSON_TYPE } from "./http.js";
import { randomKey } from "./ids.js";
import type { Given } from "./incoming.js";
import { jsonOf } from "./json.js";
import { MESSAGES, type Messages, messageFor } from "./messages.js";
import type { ChatKitFetchOptions, ResumedRun, ThreadActivity } from "./options.js";
import { Post, Unanswered } from "./post.js";
import { asRecord, type ChatKitRequest, isRecord, isToolOutput, parsed, withErrorForResult } from "./protocol.js";
import { codeOf } from "./refused.js";
import { report, tell } from "./telemetry.js";

/** What a page does with runs: begin one, follow it, stop it. */
export class Runs {
  readonly #messages: Messages;
  /** The ids of the runs whose answers are on their way here. */
  readonly #followed = new Map<AbortController, string>();

  constructor(
    private readonly means: Means,
    private readonly options: ChatKitFetchOptions,
  ) {
    this.#messages = { ...MESSAGES, ...options.messages };
  }

  /**
   * Sends what begins a run, until it is answered; the answer is the run's, or says what is in the way of one. The result
   * of a client tool that the server does not take is sent again, once, as an error: the thread waits for it.
   */
  async begin(asked: ChatKitRequest, request: Given, isErrorOutput = false): Promise<Response> {
    const { connection, limits } = this.means;
    request.signal?.throwIfAborted();
    const beganAtMs = Date.now();
    const headers = new Headers(request.headers);
    headers.set("relaykit-resume", "1");
    if (!headers.has("idempotency-key")) headers.set("idempotency-key", randomKey());
    const own = this.means.live.open();
    const outgoing = {
      ...request,
      headers,
      expects: EVENT_STREAM,
      signal: own.signal,
      timeoutMs: limits.answerMs,
    } as const;
    const post = new Post(this.means, outgoing);
    const key = Symbol("run");
    connection.set(key, "connecting");
    let response: Response;
    try {
      response = await this.#unlessAborted(post, request.signal, own);
    } catch (error) {
      connection.set(key, null);
      request.signal?.throwIfAborted();
      own.signal.throwIfAborted();
      own.abort();
      if (!isErrorOutput && isToolOutput(asked) && isUnfit(error, request.body)) {
        const replaced = withErrorForResult(parsed(request.body) ?? asked, error.message);
        headers.delete("idempotency-key");
        return this.begin(replaced, { ...request, headers, body: jsonOf(replaced) }, true);
      }
      return this.#notSent(error);
    }
    this.means.tell({ type: "answered", request: asked.type, tries: post.tries, ms: Date.now() - beganAtMs });
    const runId = response.headers.get("x-run-id");
    if (runId !== null) return this.follow(runId, response, request.signal, beganAtMs, key, own);
    // A server without runs, which cannot resume: its answer as it is.
    connection.set(key, null);
    request.signal?.addEventListener("abort", () => own.abort(request.signal?.reason), { signal: own.signal });
    const read = new TransformStream<Uint8Array, Uint8Array>({ flush: () => own.abort() });
    return new Response(response.body?.pipeThrough(read) ?? null, response);
  }

  /**
   * The run as one unbroken answer. An abort of `signal` before its end is the user's Stop.
   *
   * @param first an answer that is open already
   * @param followed ends the following, and with it the answer that is open
   */
  follow(
    runId: string,
    first: Response | null,
    signal: AbortSignal | null,
    beganAtMs: number = Date.now(),
    key: symbol = Symbol("run"),
    followed: AbortController = this.means.live.open(),
  ): Response {
    const follower = new Follower(this.means, runId, first, followed.signal, beganAtMs, key);
    const onAbort = () => {
      followed.abort(signal?.reason);
      if (this.#isStop(signal?.reason)) this.stopRun(runId).catch(report);
    };
    followed.signal.addEventListener("abort", () => signal?.removeEventListener("abort", onAbort));
    const response = this.#answer(follower, followed);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort);
    return response;
  }

  /** See `ChatKitFetch.threadActivity`. */
  async activity(threadId: string, signal?: AbortSignal): Promise<ThreadActivity> {
    const beganAtMs = Date.now();
    const active = await this.#active(threadId, signal);
    if (active === null) return { run: null, awaits: null };
    const { id, awaits } = active;
    if (isRecord(awaits)) {
      const call = { runId: String(id), itemId: String(awaits.item_id), secondsLeft: Number(awaits.seconds_left) };
      return { run: null, awaits: call };
    }
    return { run: this.#resumed(String(id), beganAtMs, signal), awaits: null };
  }

  #resumed(runId: string, beganAtMs: number, signal?: AbortSignal): ResumedRun {
    const isFollowed = [...this.#followed.values()].includes(runId);
    const followed = this.means.live.open(signal);
    const follower = new Follower(this.means, runId, null, followed.signal, beganAtMs);
    return {
      runId,
      isFollowed,
      response: this.#answer(follower, followed),
      stop: () => this.stopRun(runId),
    };
  }

  /** See `ChatKitFetch.stopThread`. */
  async stop(threadId: string): Promise<boolean> {
    const active = await this.#active(threadId);
    if (active !== null) await this.stopRun(String(active.id));
    return active !== null;
  }

  /** The answer. Where the user stops while nobody has answered, the run is stopped as soon as its id is known. */
  #unlessAborted(post: Post, signal: AbortSignal | null, own: AbortController): Promise<Response> {
    const answered = post.answered();
    if (signal === null) return answered;
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        reject(signal.reason);
        if (this.#isStop(signal.reason) && post.mayHaveArrived) {
          answered
            .then((response) => this.#stopAnswered(response, own))
            .catch(() => {
              // Refused or never answered: there is no run to stop.
            });
        } else {
          own.abort(signal.reason);
        }
      };
      own.signal.addEventListener("abort", () => reject(own.signal.reason));
      answered.finally(() => signal.removeEventListener("abort", onAbort)).then(resolve, reject);
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort);
    });
  }

  async #stopAnswered(response: Response, own: AbortController): Promise<void> {
    const runId = response.headers.get("x-run-id");
    own.abort();
    if (runId !== null) await this.stopRun(runId).catch(report);
  }

  #answer(follower: Follower, followed: AbortController): Response {
    const { onReload } = this.options;
    const { runId } = follower;
    this.#followed.set(followed, runId);
    followed.signal.addEventListener("abort", () => {
      this.#followed.delete(followed);
      follower.close();
    });
    return answerOf(follower, {
      messages: this.#messages,
      tell: this.means.tell,
      reload: (gap) => {
        tell(onReload, gap);
        return onReload !== undefined;
      },
      over: () => followed.abort(),
    });
  }

  async #active(threadId: string, signal?: AbortSignal): Promise<Record<string, unknown> | null> {
    const response = await new Post(this.means, {
      url: `${this.means.urls().threads}/${encodeURIComponent(threadId)}/run`,
      method: "GET",
      expects: JSON_TYPE,
      signal: signal ?? new AbortController().signal,
      timeoutMs: this.means.limits.answerMs,
    }).answered();
    return response.status === 204 ? null : asRecord(await response.json());
  }

  /** The user's Stop, which outlives the page. See `ChatKitFetch.stopRun`. */
  async stopRun(runId: string): Promise<void> {
    await new Post(this.means, {
      url: `${this.means.urls().runs}/${encodeURIComponent(runId)}/cancel`,
      method: "POST",
      keepalive: true,
      expects: JSON_TYPE,
      signal: new AbortController().signal,
      timeoutMs: this.means.limits.answerMs,
    }).answered();
    this.means.tell({ type: "stopped", runId });
  }

  #isStop(reason: unknown): boolean {
    return !this.means.surroundings.isLeaving && (this.options.isStop?.(reason) ?? true);
  }

  #notSent(error: unknown): Response {
    if (!(error instanceof Refusal || error instanceof Unanswered || error instanceof Passing)) throw error;
    const code = codeOf(error);
    this.means.tell({ type: "failed", code, runId: null });
    return failedAnswer(code, messageFor(code, error instanceof Refusal ? error.said : "", this.#messages));
  }
}

/** With these the server says that it never takes a body like that. */
const UNFIT_STATUSES = new Set([400, 413, 422]);
/** A server that is sent more than that may close the connection before its answer is read. */
const LARGE_CHARS = 1_048_576;

/** Whether it is the body that keeps a request from being done, as far as that can be told. */
function isUnfit(error: unknown, body: string | undefined): error is Refusal | Unanswered {
  if (error instanceof Refusal) return UNFIT_STATUSES.has(error.status);
  return error instanceof Unanswered && error.last.why === "network" && (body?.length ?? 0) > LARGE_CHARS;
}
