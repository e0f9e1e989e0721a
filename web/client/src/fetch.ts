import { type AnswerHooks, answerOf, failedAnswer } from "./answer.js";
import { Connection, type ConnectionState } from "./connection.js";
import { Passing, Refusal } from "./failures.js";
import { Follower, type Means } from "./follow.js";
import { EVENT_STREAM, Http, JSON_TYPE } from "./http.js";
import { randomKey } from "./ids.js";
import { LIMITS, type Limits } from "./limits.js";
import { MESSAGES, type Messages, messageFor } from "./messages.js";
import { Post, Unanswered } from "./post.js";
import {
  asRecord,
  type ChatKitRequest,
  isDeleting,
  isRepeatable,
  isStreaming,
  parsed,
  withMetadata,
} from "./protocol.js";
import { Surroundings } from "./surroundings.js";
import { type OnTelemetry, report, type Telemetry, tell } from "./telemetry.js";
import { type GetToken, Tokens } from "./tokens.js";
import { absolute, Urls } from "./urls.js";

export interface ChatKitFetchOptions {
  /** The ChatKit endpoint, the same as ChatKit's `api.url`. */
  readonly url: string;
  /** Where the API's other endpoints lie (`runs/…`, `threads/…`), if not beside `url`. */
  readonly baseUrl?: string;
  /** The bearer token; leave it out where a cookie signs in. */
  readonly getToken?: GetToken;
  /** For cookies: `include` where they go to another origin. Default `same-origin`. */
  readonly credentials?: RequestCredentials;
  /** Further headers for every request to the API. */
  readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** What the server learns with each request: who asks, from which page, whatever the site adds. JSON. */
  readonly metadata?: () => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Further origins that may see the token and the headers: that of direct uploads, say. */
  readonly trustedOrigins?: readonly string[];
  /** Nobody is signed in, or no longer. Called once each time that a request finds it out. */
  readonly onSignInRequired?: () => void;
  /** Events were lost for good: load the thread anew, `fetchUpdates()` of the stock widget. Without it an error is shown. */
  readonly onReload?: (gap: { readonly runId: string; readonly threadId: string | null }) => void;
  readonly onTelemetry?: OnTelemetry;
  /** Whether an abort is the user's Stop. Default: any before the answer's end, unless the page is being left. */
  readonly isStop?: (reason: unknown) => boolean;
  /** Other words for the client's own errors. */
  readonly messages?: Partial<Messages>;
  readonly limits?: Partial<Limits>;
  /** What sends the requests. Default: the global one, looked up at each. */
  readonly fetch?: typeof fetch;
}

/** A run that is being followed again. */
export interface ResumedRun {
  readonly runId: string;
  /** Its events from the first one, as one unbroken stream; `readEvents` reads it. */
  readonly response: Response;
  /** The user's Stop. */
  stop(): Promise<void>;
}

/** The function for ChatKit's `api.fetch`, and what else a page does with the same sign-in. */
export interface ChatKitFetch {
  (input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  readonly connection: { readonly state: ConnectionState; subscribe(listener: () => void): () => void };
  /**
   * Follows the thread's active run, after a reload for instance; null where none is active. Raises where the server
   * cannot be reached or refuses.
   *
   * @param options.signal ends the following; it does not stop the run
   */
  resumeThread(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<ResumedRun | null>;
  /** Somebody else signs in: the token that is kept is dropped. */
  forgetToken(): void;
}

/** The custom action that `resumeInWidget` may send through the stock widget, and that never reaches the server. */
export const RESUME_ACTION = "relaykit.resume";

/** A fetch for ChatKit whose answers outlive connections. One for each signed-in user; it keeps their token. */
export function createChatKitFetch(options: ChatKitFetchOptions): ChatKitFetch {
  const client = new Client(options);
  return Object.assign((input: RequestInfo | URL, init?: RequestInit) => client.fetch(input, init), {
    connection: client.connection,
    resumeThread: (threadId: string, given: { signal?: AbortSignal } = {}) =>
      client.resumeThread(threadId, given.signal),
    forgetToken: () => client.forgetToken(),
  });
}

class Client {
  readonly connection: Connection;
  readonly #urls: Urls;
  readonly #tokens: Tokens | null;
  readonly #http: Http;
  readonly #surroundings = new Surroundings();
  readonly #means: Means;
  readonly #messages: Messages;

  constructor(private readonly options: ChatKitFetchOptions) {
    this.#urls = new Urls(options.url, options.baseUrl, options.trustedOrigins ?? []);
    this.#tokens = options.getToken === undefined ? null : new Tokens(options.getToken);
    this.#http = new Http(
      () => this.#send,
      this.#tokens,
      () => this.#extraHeaders(),
      options.credentials ?? "same-origin",
      () => tell(options.onSignInRequired),
    );
    this.connection = new Connection(() => this.#surroundings.isOffline);
    this.#messages = { ...MESSAGES, ...options.messages };
    this.#means = {
      http: this.#http,
      runsUrl: this.#urls.runs,
      connection: this.connection,
      surroundings: this.#surroundings,
      limits: { ...LIMITS, ...options.limits },
      tell: (happened) => this.#tell(happened),
    };
  }

  async fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const url = input instanceof Request ? new URL(input.url) : absolute(String(input));
    if (!this.#urls.isChatKit(url)) return this.#elsewhere(url, input, init);
    const request = await given(input, init);
    const asked = request.method === "POST" ? parsed(request.body) : null;
    if (asked === null) return this.#elsewhere(url, input, init);
    const resumed = resumedRunId(asked);
    if (resumed !== null) return this.#follow(resumed, null, request.signal, Date.now(), Symbol("run"));
    const body = JSON.stringify(withMetadata(asked, await this.#metadata()));
    const whole = { ...request, url: url.href, body };
    return isStreaming(asked.type) ? this.#stream(asked, whole) : this.#json(asked, whole);
  }

  async resumeThread(threadId: string, signal?: AbortSignal): Promise<ResumedRun | null> {
    const beganAtMs = Date.now();
    const outgoing = {
      url: `${this.#urls.threads}/${encodeURIComponent(threadId)}/run`,
      method: "GET",
      expects: JSON_TYPE,
      signal: signal ?? new AbortController().signal,
      timeoutMs: this.#means.limits.answerMs,
    } as const;
    const response = await new Post(this.#means, outgoing).answered();
    if (response.status === 204) return null;
    const runId = String(asRecord(await response.json()).id);
    const followed = new AbortController();
    signal?.addEventListener("abort", () => followed.abort(signal.reason), { signal: followed.signal });
    return {
      runId,
      response: this.#answer(
        new Follower(this.#means, runId, null, followed.signal, beganAtMs),
        null,
        followed,
        () => {},
      ),
      stop: () => this.#cancel(runId),
    };
  }

  forgetToken(): void {
    this.#tokens?.forget();
  }

  /** An upload, or whatever else: our credentials go along to our own origins only. */
  async #elsewhere(url: URL, input: RequestInfo | URL, init: RequestInit): Promise<Response> {
    if (!this.#urls.isTrusted(url)) return this.#send(input, init);
    const headers = new Headers(init.headers ?? (input instanceof Request ? input.headers : undefined));
    try {
      const authorized = await this.#http.authorized(headers);
      return await this.#send(input, {
        credentials: this.options.credentials ?? "same-origin",
        ...init,
        headers: authorized,
      });
    } catch (error) {
      return refused(error);
    }
  }

  async #json(asked: ChatKitRequest, request: Given): Promise<Response> {
    const signal = request.signal ?? new AbortController().signal;
    const outgoing = { ...request, expects: JSON_TYPE, signal, timeoutMs: this.#means.limits.answerMs } as const;
    const post = new Post(
      this.#means,
      // What runs the site's own code may take as long as that does.
      isRepeatable(asked.type) ? outgoing : { ...outgoing, timeoutMs: 2 ** 31 - 1 },
      (failure) => isRepeatable(asked.type) || !failure.mayHaveArrived,
    );
    const beganAtMs = Date.now();
    try {
      const response = await post.answered();
      this.#tell({ type: "answered", request: asked.type, tries: post.tries, ms: Date.now() - beganAtMs });
      return response;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Refusal && error.status === 404 && post.tries > 1 && isDeleting(asked.type)) {
        return Response.json({});
      }
      this.#tell({ type: "failed", code: codeOf(error), runId: null });
      return refused(error);
    }
  }

  async #stream(asked: ChatKitRequest, request: Given): Promise<Response> {
    const beganAtMs = Date.now();
    const headers = new Headers(request.headers);
    headers.set("relaykit-resume", "1");
    if (!headers.has("idempotency-key")) headers.set("idempotency-key", randomKey());
    const own = new AbortController();
    const { limits } = this.#means;
    const outgoing = {
      ...request,
      headers,
      expects: EVENT_STREAM,
      signal: own.signal,
      timeoutMs: limits.answerMs,
    } as const;
    const post = new Post(this.#means, outgoing);
    const key = Symbol("post");
    this.connection.set(key, "connecting");
    let response: Response;
    try {
      response = await this.#unlessAborted(post.answered(), request.signal, post, own);
    } catch (error) {
      this.connection.set(key, null);
      request.signal?.throwIfAborted();
      return this.#notSent(error);
    }
    this.#tell({ type: "answered", request: asked.type, tries: post.tries, ms: Date.now() - beganAtMs });
    const runId = response.headers.get("x-run-id");
    // A server without runs, which cannot resume: its answer as it is.
    if (runId === null) {
      this.connection.set(key, null);
      request.signal?.addEventListener("abort", () => own.abort(request.signal?.reason));
      return response;
    }
    return this.#follow(runId, response, request.signal, beganAtMs, key);
  }

  /** The answer. Where the user stops while nobody has answered, the run is stopped as soon as its id is known. */
  #unlessAborted(
    answered: Promise<Response>,
    signal: AbortSignal | null,
    post: Post,
    own: AbortController,
  ): Promise<Response> {
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
      if (signal.aborted) {
        onAbort();
        answered.catch(() => {});
        return;
      }
      signal.addEventListener("abort", onAbort);
      answered.finally(() => signal.removeEventListener("abort", onAbort)).then(resolve, reject);
    });
  }

  async #stopAnswered(response: Response, own: AbortController): Promise<void> {
    const runId = response.headers.get("x-run-id");
    own.abort();
    if (runId !== null) await this.#cancel(runId).catch(report);
  }

  #follow(runId: string, first: Response | null, signal: AbortSignal | null, beganAtMs: number, key: symbol): Response {
    const followed = new AbortController();
    const follower = new Follower(this.#means, runId, null, followed.signal, beganAtMs, key);
    const onAbort = () => {
      followed.abort(signal?.reason);
      if (this.#isStop(signal?.reason)) this.#cancel(runId).catch(report);
    };
    const over = () => signal?.removeEventListener("abort", onAbort);
    const response = this.#answer(follower, first, followed, over);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort);
    return response;
  }

  #answer(follower: Follower, first: Response | null, followed: AbortController, over: () => void): Response {
    const { onReload } = this.options;
    const hooks: AnswerHooks = {
      messages: this.#messages,
      tell: (happened) => this.#tell(happened),
      reload: (gap) => {
        tell(onReload, gap);
        return onReload !== undefined;
      },
      over: () => {
        over();
        followed.abort();
      },
    };
    return answerOf(follower, first, () => followed.abort(), hooks);
  }

  /** The user's Stop, which outlives the page. */
  async #cancel(runId: string): Promise<void> {
    const outgoing = {
      url: `${this.#urls.runs}/${encodeURIComponent(runId)}/cancel`,
      method: "POST",
      keepalive: true,
      expects: JSON_TYPE,
      signal: new AbortController().signal,
      timeoutMs: this.#means.limits.answerMs,
    } as const;
    await new Post(this.#means, outgoing).answered();
    this.#tell({ type: "stopped", runId });
  }

  #isStop(reason: unknown): boolean {
    return !this.#surroundings.isLeaving && (this.options.isStop?.(reason) ?? true);
  }

  #notSent(error: unknown): Response {
    if (!(error instanceof Refusal || error instanceof Unanswered || error instanceof Passing)) throw error;
    const code = codeOf(error);
    this.#tell({ type: "failed", code, runId: null });
    return failedAnswer(messageFor(code, error instanceof Refusal ? error.said : "", this.#messages), false);
  }

  async #metadata(): Promise<Record<string, unknown>> {
    try {
      return (await this.options.metadata?.()) ?? {};
    } catch (error) {
      // The user's message is worth more than what the site would have told of its page.
      report(error);
      return {};
    }
  }

  async #extraHeaders(): Promise<Headers> {
    const { headers } = this.options;
    return new Headers(typeof headers === "function" ? await headers() : headers);
  }

  get #send(): typeof fetch {
    return this.options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  #tell(happened: Telemetry): void {
    tell(this.options.onTelemetry, happened);
  }
}

interface Given {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: string;
  readonly signal: AbortSignal | null;
}

/** What fetch was called with, in one shape; a body that is no text is an empty one. */
async function given(input: RequestInfo | URL, init: RequestInit): Promise<Given> {
  const request = input instanceof Request ? input : null;
  const body = init.body ?? (request === null ? null : await request.clone().text());
  return {
    url: "",
    method: (init.method ?? request?.method ?? "GET").toUpperCase(),
    headers: new Headers(init.headers ?? request?.headers),
    body: typeof body === "string" ? body : "",
    signal: init.signal ?? request?.signal ?? null,
  };
}

/** The run that the page asks to go on with, in the guise of a custom action. */
function resumedRunId(asked: ChatKitRequest): string | null {
  if (asked.type !== "threads.custom_action") return null;
  const action = asRecord(asked.params?.action);
  const runId = asRecord(action.payload).run_id;
  return action.type === RESUME_ACTION && typeof runId === "string" ? runId : null;
}

function codeOf(error: unknown): string {
  if (error instanceof Refusal) return error.code;
  if (!(error instanceof Unanswered)) return "http";
  const { code, why } = error.last;
  if (code === "rate_limited" || code === "too_many_runs") return code;
  if (error.mayHaveArrived) return "maybe_sent";
  return why === "status" ? "busy" : "not_sent";
}

/** What a caller of fetch knows as a failure: an error answer, or a TypeError where the server was not reached. */
function refused(error: unknown): Response {
  if (error instanceof Refusal) {
    const status = error.status >= 400 ? error.status : 401;
    return Response.json({ error: { code: error.code, message: error.said || error.code } }, { status });
  }
  if (error instanceof Unanswered || error instanceof Passing) {
    throw new TypeError("The server could not be reached.", { cause: error });
  }
  throw error;
}
