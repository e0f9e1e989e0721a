import {
  type ChatKitFetch,
  CODE_HEADER,
  createChatKitFetch,
  Refusal,
  type ThreadActivity,
  Unanswered,
} from "@relaykit/client";
import { fill, type Texts } from "../texts/index.js";
import { wordsFor, wordsOfClient } from "./error_words.js";
import { isFields } from "./fields.js";
import type { Marks } from "./protocol.js";

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

  /** Whether no server has answered, or only one that could not. */
  get isUnreached(): boolean {
    return this.code === "network";
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
  "no_token",
  "not_sent",
  "maybe_sent",
  "busy",
  "rate_limited",
  "tenant_rate_limited",
  "too_many_bodies",
  "too_many_queued",
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
  /** Whether the server has shown that it is a Relaykit, with the endpoints beside ChatKit's. */
  isOurs = false;
  #hasMarks = true;

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
      const activity = (await this.fetch.threadActivity?.(threadId, { signal })) ?? {
        ...IDLE,
        run: await this.fetch.resumeThread(threadId, { signal }),
      };
      this.isOurs = true;
      return activity;
    } catch (error) {
      if (error instanceof Refusal && (error.status === 404 || error.status === 405)) return IDLE;
      throw signal.aborted ? error : this.#asApiError(error);
    }
  }

  /** Whether the server may have marks. The site's fetch may be of an older client, which has no `call`. */
  get hasMarks(): boolean {
    return this.hasRuns && this.#hasMarks && this.fetch.call !== undefined;
  }

  /** The marks of a thread; null where its server has none. Throws ApiError. */
  async marks(threadId: string, signal: AbortSignal): Promise<Marks | null> {
    if (!this.hasMarks) return null;
    try {
      const answer = await this.fetch.call?.(`threads/${encodeURIComponent(threadId)}/marks`, { signal });
      this.isOurs = Array.isArray(answer?.runs) && isFields(answer.feedback);
      return this.isOurs ? (answer as unknown as Marks) : null;
    } catch (error) {
      if (error instanceof Refusal && (error.status === 404 || error.status === 405)) {
        this.#hasMarks = false;
        return null;
      }
      throw signal.aborted ? error : this.#asApiError(error);
    }
  }

  /** Whether the thread has an active run, as far as the site's fetch can tell. Throws ApiError. */
  async isResponding(threadId: string, signal: AbortSignal): Promise<boolean> {
    // The site's fetch may be of an older client, which has no isResponding.
    if (!this.hasRuns || this.fetch.isResponding === undefined) return false;
    try {
      return await this.fetch.isResponding(threadId, { signal });
    } catch (error) {
      throw signal.aborted ? error : this.#asApiError(error);
    }
  }

  /** Takes a message back that waits. Returns false where its run has begun or has ended. Throws ApiError. */
  async withdrawRun(runId: string): Promise<boolean> {
    try {
      const answer = await this.fetch.call?.(`runs/${encodeURIComponent(runId)}/withdraw`, { method: "POST" });
      return answer?.withdrawn === true;
    } catch (error) {
      throw this.#asApiError(error);
    }
  }

  /** The address of a file that was sent, which is good for some time. Throws ApiError. */
  async attachmentLink(id: string): Promise<string> {
    try {
      const answer = await this.fetch.call?.(`attachments/${encodeURIComponent(id)}/link`);
      return String(answer?.url);
    } catch (error) {
      throw this.#asApiError(error);
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
      if (!(error instanceof TypeError)) throw error;
      throw error.cause instanceof Unanswered ? this.#asApiError(error.cause) : this.unreachable();
    }
  }

  #asApiError(error: unknown): unknown {
    if (error instanceof Unanswered && error.last.why === "token") return this.#refusal(0, "no_token", "");
    if (error instanceof Refusal) {
      return this.#refusal(error.status, error.code, error.serverMessage);
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
    return this.#refusal(response.status, body?.error?.code ?? "http", message);
  }

  #refusal(status: number, code: string, message: string): ApiError {
    return new ApiError(status, code, wordsFor(code, message, this.texts()) || this.#refused(status));
  }

  /** The error of a request that began no run, from the `error` event with which it was answered. */
  notBegun(code: string, message: string): ApiError {
    return new ApiError(0, code, wordsOfClient(code, message, this.texts()));
  }

  #refused(status: number): string {
    return fill(this.texts().shell.refused, { status });
  }
}

function isChatKitFetch(fetch: unknown): fetch is ChatKitFetch {
  return typeof fetch === "function" && "resumeThread" in fetch && "stopRun" in fetch;
}
