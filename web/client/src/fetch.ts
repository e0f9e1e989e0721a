import { Connection } from "./connection.js";
import { Refusal } from "./failures.js";
import type { Means } from "./follow.js";
import { Http, JSON_TYPE } from "./http.js";
import { type Given, given } from "./incoming.js";
import { jsonOf } from "./json.js";
import { LIMITS } from "./limits.js";
import { Live } from "./live.js";
import type { ChatKitFetch, ChatKitFetchOptions } from "./options.js";
import { Post } from "./post.js";
import {
  type ChatKitRequest,
  isDeleting,
  isRepeatable,
  isStreaming,
  parsed,
  resumedRunId,
  withMetadata,
} from "./protocol.js";
import { codeOf, refused } from "./refused.js";
import { Runs } from "./runs.js";
import { surroundings } from "./surroundings.js";
import { report, tell } from "./telemetry.js";
import { Tokens } from "./tokens.js";
import { absolute, Urls } from "./urls.js";

/** What the site's own code takes is not bounded. */
const UNBOUNDED_MS = 2 ** 31 - 1;

/** A fetch for ChatKit whose answers outlive connections. One for each signed-in user; it keeps their token. */
export function createChatKitFetch(options: ChatKitFetchOptions): ChatKitFetch {
  const client = new Client(options);
  return Object.assign((input: RequestInfo | URL, init?: RequestInit) => client.fetch(input, init), {
    connection: client.means.connection,
    resumeThread: async (threadId: string, { signal }: { signal?: AbortSignal } = {}) =>
      (await client.runs.activity(threadId, signal)).run,
    threadActivity: (threadId: string, { signal }: { signal?: AbortSignal } = {}) =>
      client.runs.activity(threadId, signal),
    stopThread: (threadId: string) => client.runs.stop(threadId),
    stopRun: (runId: string) => client.runs.stopRun(runId),
    end: () => client.end(),
  });
}

class Client {
  readonly tokens: Tokens | null;
  readonly means: Means;
  readonly runs: Runs;
  #madeUrls: Urls | null = null;

  constructor(private readonly options: ChatKitFetchOptions) {
    const limits = { ...LIMITS, ...options.limits };
    this.tokens = options.getToken === undefined ? null : new Tokens(options.getToken, limits.answerMs);
    this.means = {
      http: new Http(
        () => this.#send,
        this.tokens,
        () => this.#extraHeaders(),
        this.#credentials,
        () => tell(options.onSignInRequired),
      ),
      urls: () => this.#urls,
      connection: new Connection(surroundings()),
      surroundings: surroundings(),
      live: new Live(),
      limits,
      tell: (happened) => tell(options.onTelemetry, happened),
    };
    this.runs = new Runs(this.means, options);
  }

  async fetch(input: RequestInfo | URL, init: RequestInit = {}): Promise<Response> {
    const url = input instanceof Request ? new URL(input.url) : absolute(String(input));
    if (!this.#urls.isChatKit(url)) return this.#elsewhere(url, input, init);
    const request = await given(input, init);
    const asked = request.method === "POST" ? parsed(request.body) : null;
    if (asked === null) return this.#elsewhere(url, input, init);
    const resumed = resumedRunId(asked);
    if (resumed !== null) return this.runs.follow(resumed, null, request.signal);
    const body = jsonOf(withMetadata(asked, await this.#metadata()));
    const whole = { ...request, url: url.href, body };
    return isStreaming(asked.type) ? this.runs.begin(asked, whole) : this.#json(asked, whole);
  }

  /** An upload, or whatever else: our credentials go along to our own origins only. */
  async #elsewhere(url: URL, input: RequestInfo | URL, init: RequestInit): Promise<Response> {
    if (!this.#urls.isTrusted(url)) return this.#send(input, init);
    const request = input instanceof Request ? input : null;
    const signal = init.signal ?? request?.signal ?? new AbortController().signal;
    let headers: Headers;
    try {
      headers = await this.means.http.authorized(new Headers(init.headers ?? request?.headers), signal);
    } catch (error) {
      return refused(error);
    }
    // A redirect would take the headers elsewhere.
    return this.#send(input, { credentials: this.#credentials, ...init, headers, redirect: "error" });
  }

  async #json(asked: ChatKitRequest, request: Given): Promise<Response> {
    const { limits } = this.means;
    const own = this.means.live.open(request.signal);
    // Not all may be done twice, and what may not runs the site's own code.
    const mayRepeat = isRepeatable(asked.type);
    const timeoutMs = mayRepeat ? limits.answerMs : UNBOUNDED_MS;
    const post = new Post(
      this.means,
      { ...request, expects: JSON_TYPE, signal: own.signal, timeoutMs },
      (failure) => mayRepeat || !failure.mayHaveArrived,
    );
    const beganAtMs = Date.now();
    try {
      const response = await post.answered();
      this.means.tell({ type: "answered", request: asked.type, tries: post.tries, ms: Date.now() - beganAtMs });
      return response;
    } catch (error) {
      own.signal.throwIfAborted();
      if (error instanceof Refusal && error.status === 404 && post.tries > 1 && isDeleting(asked.type)) {
        return Response.json({});
      }
      this.means.tell({ type: "failed", code: codeOf(error), runId: null });
      return refused(error, mayRepeat);
    } finally {
      own.abort();
    }
  }

  end(): void {
    this.tokens?.forget();
    this.means.live.endAll();
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

  /** Looked at when first needed: a relative URL means nothing while a server renders the page. */
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
