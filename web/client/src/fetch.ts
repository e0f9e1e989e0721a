import { ActiveRequests } from "./active_requests.js";
import type { ClientContext } from "./client_context.js";
import { Connection } from "./connection.js";
import { codeOf, errorResponse } from "./error_response.js";
import { Refusal } from "./failures.js";
import { type FetchRequest, readRequest } from "./fetch_request.js";
import { callHook, report } from "./hooks.js";
import { Http, JSON_TYPE } from "./http.js";
import { jsonOf } from "./json.js";
import { LIMITS } from "./limits.js";
import type { CallOptions, ChatKitFetch, ChatKitFetchOptions } from "./options.js";
import { pageEnvironment } from "./page_environment.js";
import { Post } from "./post.js";
import {
  type ChatKitRequest,
  isDeleting,
  isRepeatable,
  isStreaming,
  parseRequest,
  resumedRunId,
  withMetadata,
} from "./protocol.js";
import { Runs } from "./runs.js";
import { Tokens } from "./tokens.js";
import { absolute, Urls } from "./urls.js";

/** The longest timer: the time of a request that runs the site's own code is not bounded. */
const UNBOUNDED_MS = 2 ** 31 - 1;

/**
 * A fetch for ChatKit whose answers outlive connections. A page makes one for each signed-in user; it keeps their
 * token.
 */
export function createChatKitFetch(options: ChatKitFetchOptions): ChatKitFetch {
  const client = new Client(options);
  return Object.assign((input: RequestInfo | URL, init?: RequestInit) => client.fetch(input, init), {
    connection: client.context.connection,
    resumeThread: async (threadId: string, { signal }: { signal?: AbortSignal } = {}) =>
      (await client.runs.activity(threadId, signal)).run,
    threadActivity: (threadId: string, { signal }: { signal?: AbortSignal } = {}) =>
      client.runs.activity(threadId, signal),
    isResponding: (threadId: string, { signal }: { signal?: AbortSignal } = {}) =>
      client.runs.isResponding(threadId, signal),
    stopThread: (threadId: string) => client.runs.stop(threadId),
    stopRun: (runId: string) => client.runs.stopRun(runId),
    call: (path: string, options?: CallOptions) => client.runs.call(path, options),
    end: () => client.end(),
  });
}

class Client {
  readonly tokens: Tokens | null;
  readonly context: ClientContext;
  readonly runs: Runs;
  #madeUrls: Urls | null = null;

  constructor(private readonly options: ChatKitFetchOptions) {
    const limits = { ...LIMITS, ...options.limits };
    this.tokens = options.getToken === undefined ? null : new Tokens(options.getToken, limits.answerMs);
    this.context = {
      http: new Http(
        () => this.#send,
        this.tokens,
        () => this.#extraHeaders(),
        this.#credentials,
        () => callHook(options.onSignInRequired),
      ),
      urls: () => this.#urls,
      connection: new Connection(pageEnvironment()),
      environment: pageEnvironment(),
      activeRequests: new ActiveRequests(),
      limits,
      onTelemetry: (event) => callHook(options.onTelemetry, event),
    };
    this.runs = new Runs(this.context, options);
  }

  async fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const url = input instanceof Request ? new URL(input.url) : absolute(String(input));
    if (!this.#urls.isChatKit(url)) return this.#elsewhere(url, input, init);
    const received = await readRequest(input, init);
    const request = received.method === "POST" ? parseRequest(received.body) : null;
    if (request === null) return this.#elsewhere(url, input, init);
    const resumed = resumedRunId(request);
    if (resumed !== null) return this.runs.follow(resumed, null, received.signal);
    const body = jsonOf(withMetadata(request, await this.#metadata()));
    const outgoing = { ...received, url: url.href, body };
    return isStreaming(request.type) ? this.runs.begin(request, outgoing) : this.#json(request, outgoing);
  }

  /** Sends a request that is not ChatKit's, such as an upload. Only the trusted origins get the site's credentials. */
  async #elsewhere(url: URL, input: RequestInfo | URL, init: RequestInit): Promise<Response> {
    if (!this.#urls.isTrusted(url)) return this.#send(input, init);
    const request = input instanceof Request ? input : null;
    const signal = init.signal ?? request?.signal ?? new AbortController().signal;
    let headers: Headers;
    try {
      headers = await this.context.http.authorized(new Headers(init.headers ?? request?.headers), signal);
    } catch (error) {
      return errorResponse(error);
    }
    // A redirect is an error because it could take the headers to another origin.
    return this.#send(input, { credentials: this.#credentials, ...init, headers, redirect: "error" });
  }

  /** Sends a request that is answered with JSON, until it is answered. */
  async #json(request: ChatKitRequest, received: FetchRequest): Promise<Response> {
    const { limits } = this.context;
    const own = this.context.activeRequests.open(received.signal);
    // A request that may not be done twice is sent once and without a timeout: it runs the site's own code.
    const mayRepeat = isRepeatable(request.type);
    const timeoutMs = mayRepeat ? limits.answerMs : UNBOUNDED_MS;
    const post = new Post(
      this.context,
      { ...received, expects: JSON_TYPE, signal: own.signal, timeoutMs },
      (failure) => mayRepeat || !failure.mayHaveArrived,
    );
    const beganAtMs = Date.now();
    try {
      const response = await post.answered();
      this.context.onTelemetry({
        type: "answered",
        request: request.type,
        tries: post.tries,
        ms: Date.now() - beganAtMs,
      });
      return response;
    } catch (error) {
      own.signal.throwIfAborted();
      if (error instanceof Refusal && error.status === 404 && post.tries > 1 && isDeleting(request.type)) {
        return Response.json({});
      }
      this.context.onTelemetry({ type: "failed", code: codeOf(error), runId: null });
      return errorResponse(error, mayRepeat);
    } finally {
      own.abort();
    }
  }

  end(): void {
    this.tokens?.forget();
    this.context.activeRequests.endAll();
  }

  async #metadata(): Promise<Record<string, unknown>> {
    try {
      return (await this.options.metadata?.()) ?? {};
    } catch (error) {
      // The message is sent without metadata, because it is worth more to the user than they are.
      report(error);
      return {};
    }
  }

  async #extraHeaders(): Promise<Headers> {
    const { headers } = this.options;
    return new Headers(typeof headers === "function" ? await headers() : headers);
  }

  /** Resolved at the first use, because a relative URL has no base while a server renders the page. */
  get #urls(): Urls {
    const { url, baseUrl, trustedOrigins = [] } = this.options;
    this.#madeUrls ??= new Urls(url, baseUrl, trustedOrigins);
    return this.#madeUrls;
  }

  get #credentials(): RequestCredentials {
    return this.options.credentials ?? "same-origin";
  }

  get #send(): typeof fetch {
    return this.options.fetch ?? globalThis.fetch.bind(globalThis);
  }
}
