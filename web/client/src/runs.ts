import { answerOf, failedAnswer } from "./answer.js";
import type { ClientContext } from "./client_context.js";
import { codeOf } from "./error_response.js";
import { Refusal, TransientError } from "./failures.js";
import type { FetchRequest } from "./fetch_request.js";
import { Follower } from "./follow.js";
import { callHook, report } from "./hooks.js";
import { EVENT_STREAM, JSON_TYPE } from "./http.js";
import { randomKey } from "./ids.js";
import { jsonOf } from "./json.js";
import { MESSAGES, type Messages, messageFor } from "./messages.js";
import type { CallOptions, ChatKitFetchOptions, ResumedRun, ThreadActivity } from "./options.js";
import { Post, Unanswered } from "./post.js";
import { asRecord, type ChatKitRequest, isRecord, isToolOutput, parseRequest, withErrorForResult } from "./protocol.js";

/** The runs of a page: begins, follows and stops them. */
export class Runs {
  readonly #messages: Messages;
  /** The ids of the runs whose answers are on their way to this page. */
  readonly #followed = new Map<AbortController, string>();

  constructor(
    private readonly context: ClientContext,
    private readonly options: ChatKitFetchOptions,
  ) {
    this.#messages = { ...MESSAGES, ...options.messages };
  }

  /**
   * Sends a request that begins a run, until it is answered. The answer is the run's, or one `error` event that says
   * why there is no run. Where the server refuses the result of a client tool, an error is sent once in its place,
   * because the thread waits for an output.
   */
  async begin(chatKitRequest: ChatKitRequest, request: FetchRequest, isErrorOutput = false): Promise<Response> {
    const { connection, limits } = this.context;
    request.signal?.throwIfAborted();
    const beganAtMs = Date.now();
    const headers = new Headers(request.headers);
    headers.set("relaykit-resume", "1");
    if (!headers.has("idempotency-key")) headers.set("idempotency-key", randomKey());
    const own = this.context.activeRequests.open();
    const outgoing = {
      ...request,
      headers,
      expects: EVENT_STREAM,
      signal: own.signal,
      timeoutMs: limits.answerMs,
    } as const;
    const key = Symbol("run");
    const post = new Post(this.context, outgoing, undefined, ({ why }) =>
      connection.set(key, why === "token" ? "signing_in" : "connecting"),
    );
    connection.set(key, "connecting");
    let response: Response;
    try {
      response = await this.#unlessAborted(post, request.signal, own);
    } catch (error) {
      connection.set(key, null);
      request.signal?.throwIfAborted();
      own.signal.throwIfAborted();
      own.abort();
      if (!isErrorOutput && isToolOutput(chatKitRequest) && isUnfit(error, request.body)) {
        const replaced = withErrorForResult(parseRequest(request.body) ?? chatKitRequest, error.message);
        headers.delete("idempotency-key");
        return this.begin(replaced, { ...request, headers, body: jsonOf(replaced) }, true);
      }
      return this.#notSent(error);
    }
    this.context.onTelemetry({
      type: "answered",
      request: chatKitRequest.type,
      tries: post.tries,
      ms: Date.now() - beganAtMs,
    });
    const runId = response.headers.get("x-run-id");
    if (runId !== null) return this.follow(runId, response, request.signal, beganAtMs, key, own);
    // A plain ChatKit server has no runs and cannot resume: the page gets its answer as it is.
    connection.set(key, null);
    request.signal?.addEventListener("abort", () => own.abort(request.signal?.reason), { signal: own.signal });
    const read = new TransformStream<Uint8Array, Uint8Array>({ flush: () => own.abort() });
    return new Response(response.body?.pipeThrough(read) ?? null, response);
  }

  /**
   * The run as one unbroken answer. An abort of `signal` before its end is the user's Stop.
   *
   * @param first an answer that is open already
   * @param following ends the following, and with it the open answer
   */
  follow(
    runId: string,
    first: Response | null,
    signal: AbortSignal | null,
    beganAtMs: number = Date.now(),
    key: symbol = Symbol("run"),
    following: AbortController = this.context.activeRequests.open(),
  ): Response {
    const follower = new Follower(this.context, runId, first, following.signal, beganAtMs, key);
    const onAbort = () => {
      following.abort(signal?.reason);
      if (this.#isStop(signal?.reason)) this.stopRun(runId).catch(report);
    };
    following.signal.addEventListener("abort", () => signal?.removeEventListener("abort", onAbort));
    const response = this.#answer(follower, following);
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

  /** See `ChatKitFetch.isResponding`. */
  async isResponding(threadId: string, signal?: AbortSignal): Promise<boolean> {
    const active = await this.#active(threadId, signal);
    return active !== null && !isRecord(active.awaits);
  }

  #resumed(runId: string, beganAtMs: number, signal?: AbortSignal): ResumedRun {
    const isFollowed = [...this.#followed.values()].includes(runId);
    const following = this.context.activeRequests.open(signal);
    const follower = new Follower(this.context, runId, null, following.signal, beganAtMs);
    return {
      runId,
      isFollowed,
      response: this.#answer(follower, following),
      stop: () => this.stopRun(runId),
    };
  }

  /** See `ChatKitFetch.stopThread`. */
  async stop(threadId: string): Promise<boolean> {
    const active = await this.#active(threadId);
    if (active !== null) await this.stopRun(String(active.id));
    return active !== null;
  }

  /** The answer of the POST. After a Stop before it, the run is stopped as soon as the answer names the run. */
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
              // There is no run to stop, because the request was refused or never answered.
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

  #answer(follower: Follower, following: AbortController): Response {
    const { onReload } = this.options;
    const { runId } = follower;
    this.#followed.set(following, runId);
    following.signal.addEventListener("abort", () => {
      this.#followed.delete(following);
      follower.close();
    });
    return answerOf(follower, {
      messages: this.#messages,
      onTelemetry: this.context.onTelemetry,
      reload: (gap) => {
        callHook(onReload, gap);
        return onReload !== undefined;
      },
      onOver: () => following.abort(),
    });
  }

  #active(threadId: string, signal?: AbortSignal): Promise<Record<string, unknown> | null> {
    return this.call(`threads/${encodeURIComponent(threadId)}/run`, signal && { signal });
  }

  /** See `ChatKitFetch.call`. */
  async call(path: string, { method = "GET", keepalive = false, signal }: CallOptions = {}) {
    const response = await new Post(this.context, {
      url: this.context.urls().beside(path),
      method,
      keepalive,
      expects: JSON_TYPE,
      signal: signal ?? new AbortController().signal,
      timeoutMs: this.context.limits.answerMs,
    }).answered();
    return response.status === 204 ? null : asRecord(await response.json());
  }

  /** Sends the user's Stop, which also arrives when the page is left. See `ChatKitFetch.stopRun`. */
  async stopRun(runId: string): Promise<void> {
    await this.call(`runs/${encodeURIComponent(runId)}/cancel`, { method: "POST", keepalive: true });
    this.context.onTelemetry({ type: "stopped", runId });
  }

  #isStop(reason: unknown): boolean {
    return !this.context.environment.isLeaving && (this.options.isStop?.(reason) ?? true);
  }

  #notSent(error: unknown): Response {
    if (!(error instanceof Refusal || error instanceof Unanswered || error instanceof TransientError)) throw error;
    const code = codeOf(error);
    this.context.onTelemetry({ type: "failed", code, runId: null });
    return failedAnswer(code, messageFor(code, error instanceof Refusal ? error.serverMessage : "", this.#messages));
  }
}

/** With these statuses the server refuses the body itself, now and later. */
const UNFIT_STATUSES = new Set([400, 413, 422]);
/** A server may close the connection on a longer body before the client has read the answer. */
const LARGE_CHARS = 1_048_576;

/** Whether the request failed because of its body, as far as the failure tells it. */
function isUnfit(error: unknown, body: string | undefined): error is Refusal | Unanswered {
  if (error instanceof Refusal) return UNFIT_STATUSES.has(error.status);
  return error instanceof Unanswered && error.last.why === "network" && (body?.length ?? 0) > LARGE_CHARS;
}
