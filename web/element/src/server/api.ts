import {
  type ChatKitFetch,
  CODE_HEADER,
  createChatKitFetch,
  Refusal,
  type ThreadActivity,
  Unanswered,
} from "@relaykit/client";
import { fill, type Texts } from "../texts/index.js";

/** The server refused a request or could not be reached. The message is for people. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  /** @param status of HTTP; 0 where no answer came */
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** Whether the server would refuse the same request again. */
  get isFinal(): boolean {
    return !TRANSIENT_CODES.has(this.code);
  }
}

/** The code of an answer that says why there is no run; `refused` where the answer has none. */
export function codeOf(response: Response): string {
  return response.headers.get(CODE_HEADER) ?? "refused";
}

/** A ChatKit request that was answered or failed, without a word of its content. */
export interface RequestEnd {
  readonly type: string;
  /** The status of HTTP; 0 where no answer came. */
  readonly status: number;
  /** The time until the answer's headers came. */
  readonly ms: number;
}

const IDLE: ThreadActivity = { run: null, awaits: null };

/** The codes with which the server has not judged the request and may accept it later. */
const TRANSIENT_CODES = new Set([
  "network",
  "not_sent",
  "maybe_sent",
  "busy",
  "rate_limited",
  "too_many_runs",
  "too_many_streams",
  "signed_out",
  "unauthenticated",
  "redirected",
]);

/** The server's URL and the site's fetch, as in ChatKit's `api` option. */
export interface ApiOptions {
  readonly url: string;
  readonly fetch?: typeof fetch;
}

/**
 * The ChatKit protocol over the site's fetch. A fetch that is not of `createChatKitFetch` is wrapped by one, so that
 * answers outlive their connections in each case.
 */
export class Api {
  readonly fetch: ChatKitFetch;
  /** Whether the server knows runs, as far as its answers have shown. */
  hasRuns = true;

  constructor(
    readonly options: ApiOptions,
    private readonly texts: () => Texts,
    private readonly locale: () => string,
    private readonly onRequestEnd: (request: RequestEnd) => void = () => {},
  ) {
    const { fetch } = options;
    this.fetch = isChatKitFetch(fetch)
      ? fetch
      : createChatKitFetch({ url: options.url, ...(fetch && { fetch }), onReload: () => {} });
  }

  /** Sends a request that is answered with JSON. Throws ApiError. */
  async call<Answer>(type: string, params: object): Promise<Answer> {
    const response = await this.#send(this.#post(type, params));
    if (!response.ok) throw await this.#errorOf(response);
    return (await response.json()) as Answer;
  }

  /** Sends a request that is answered by a stream of events. A refusal is an `error` event of the stream. */
  stream(type: string, params: object, signal: AbortSignal): Promise<Response> {
    return this.#send(this.#post(type, params, signal));
  }

  /**
   * The thread's active run, to be followed, or the client tool call that it awaits. It has neither where its turn is
   * over or its server knows no runs. Throws ApiError.
   */
  async activity(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    if (!this.hasRuns) return IDLE;
    try {
      // The site's fetch may be of an older client, which has no threadActivity.
      if (this.fetch.threadActivity !== undefined) return await this.fetch.threadActivity(threadId, { signal });
      return { ...IDLE, run: await this.fetch.resumeThread(threadId, { signal }) };
    } catch (error) {
      if (error instanceof Refusal && (error.status === 404 || error.status === 405)) return IDLE;
      throw signal.aborted ? error : this.#asApiError(error);
    }
  }

  /** Throws ApiError. */
  async stopRun(runId: string): Promise<void> {
    try {
      await this.fetch.stopRun(runId);
    } catch (error) {
      throw this.#asApiError(error);
    }
  }

  /**
   * Uploads bytes to the address that the server named. Only trusted origins get the site's credentials. Throws
   * ApiError.
   */
  async put(url: string | URL, init: RequestInit): Promise<Response> {
    const response = await this.#send(this.fetch(url, init));
    if (!response.ok) throw await this.#errorOf(response);
    return response;
  }

  async #post(type: string, params: object, signal?: AbortSignal): Promise<Response> {
    const headers = { "Content-Type": "application/json", "Accept-Language": this.locale() };
    const body = JSON.stringify({ type, params });
    const begunAtMs = performance.now();
    let status = 0;
    try {
      const response = await this.fetch(this.options.url, { method: "POST", headers, body, ...(signal && { signal }) });
      status = response.status;
      return response;
    } finally {
      this.onRequestEnd({ type, status, ms: Math.round(performance.now() - begunAtMs) });
    }
  }

  async #send(sending: Promise<Response>): Promise<Response> {
    try {
      return await sending;
    } catch (error) {
      // A fetch rejects with TypeError where it did not reach the server.
      throw error instanceof TypeError ? this.unreachable() : error;
    }
  }

  #asApiError(error: unknown): unknown {
    if (error instanceof Refusal) {
      return new ApiError(error.status, error.code, error.serverMessage || this.#refused(error.status));
    }
    return error instanceof Unanswered ? this.unreachable() : error;
  }

  unreachable(): ApiError {
    return new ApiError(0, "network", this.texts().shell.unreachable);
  }

  async #errorOf(response: Response): Promise<ApiError> {
    let body: { error?: { code?: string; message?: string }; detail?: unknown } | null = null;
    try {
      body = await response.json();
    } catch {
      // The status alone tells the error, because a proxy may answer with another type than JSON.
    }
    const message = body?.error?.message ?? (typeof body?.detail === "string" ? body.detail : "");
    return new ApiError(response.status, body?.error?.code ?? "http", message || this.#refused(response.status));
  }

  #refused(status: number): string {
    return fill(this.texts().shell.refused, { status });
  }
}

function isChatKitFetch(fetch: unknown): fetch is ChatKitFetch {
  return typeof fetch === "function" && "resumeThread" in fetch && "stopRun" in fetch;
}
