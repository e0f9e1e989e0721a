import {
  type ChatKitFetch,
  CODE_HEADER,
  createChatKitFetch,
  Refusal,
  type ThreadActivity,
  Unanswered,
} from "@relaykit/client";
import { fill, type Texts } from "../texts/index.js";

/** What the server refused, or that it could not be reached; the message is for people. */
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

  /** The same request would be refused again. */
  get isFinal(): boolean {
    return !PASSING.has(this.code);
  }
}

/** The code of an answer that says why there is no run; `refused` where only its words say that. */
export function codeOf(response: Response): string {
  return response.headers.get(CODE_HEADER) ?? "refused";
}

const IDLE: ThreadActivity = { run: null, awaits: null };

/** With these the server has not said what it thinks of the request, and may take it at another time. */
const PASSING = new Set([
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

/** Where and how the server is asked, as ChatKit's `api` option has it. */
export interface ApiOptions {
  readonly url: string;
  readonly fetch?: typeof fetch;
}

/**
 * The ChatKit protocol over the site's fetch. Where that is not one of `createChatKitFetch` already, one is put around
 * it: answers outlive their connections either way.
 */
export class Api {
  readonly fetch: ChatKitFetch;
  /** Whether the server knows runs, as far as its answers have told. */
  hasRuns = true;

  constructor(
    readonly options: ApiOptions,
    private readonly texts: () => Texts,
    private readonly locale: () => string,
  ) {
    const given = options.fetch;
    this.fetch = isChatKitFetch(given)
      ? given
      : createChatKitFetch({ url: options.url, ...(given && { fetch: given }), onReload: () => {} });
  }

  /** A request that is answered whole. Throws ApiError. */
  async call<Answer>(type: string, params: object): Promise<Answer> {
    const response = await this.#reached(this.#post(type, params));
    if (!response.ok) throw await this.#errorOf(response);
    return (await response.json()) as Answer;
  }

  /** A request that is answered by a stream of events; what cannot be done is an `error` event of it. */
  stream(type: string, params: object, signal: AbortSignal): Promise<Response> {
    return this.#reached(this.#post(type, params, signal));
  }

  /**
   * The thread's active run, to be followed, or the client tool call that it awaits; neither where its turn is over, and
   * with a server that knows no runs. Throws ApiError.
   */
  async activity(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    if (!this.hasRuns) return IDLE;
    try {
      // A site's own fetch may be of a client before this one.
      if (this.fetch.threadActivity !== undefined) return await this.fetch.threadActivity(threadId, { signal });
      return { ...IDLE, run: await this.fetch.resumeThread(threadId, { signal }) };
    } catch (error) {
      if (error instanceof Refusal && (error.status === 404 || error.status === 405)) return IDLE;
      throw signal.aborted ? error : this.#told(error);
    }
  }

  /** Throws ApiError. */
  async stopRun(runId: string): Promise<void> {
    try {
      await this.fetch.stopRun(runId);
    } catch (error) {
      throw this.#told(error);
    }
  }

  /** Sends bytes where the server said; our own credentials go along to our own origins only. Throws ApiError. */
  async put(url: string | URL, init: RequestInit): Promise<Response> {
    const response = await this.#reached(this.fetch(url, init));
    if (!response.ok) throw await this.#errorOf(response);
    return response;
  }

  #post(type: string, params: object, signal?: AbortSignal): Promise<Response> {
    const headers = { "Content-Type": "application/json", "Accept-Language": this.locale() };
    const body = JSON.stringify({ type, params });
    return this.fetch(this.options.url, { method: "POST", headers, body, ...(signal && { signal }) });
  }

  async #reached(asking: Promise<Response>): Promise<Response> {
    try {
      return await asking;
    } catch (error) {
      // What fetch rejects with where nothing was reached.
      throw error instanceof TypeError ? this.unreachable() : error;
    }
  }

  #told(error: unknown): unknown {
    if (error instanceof Refusal) {
      return new ApiError(error.status, error.code, error.serverMessage || this.#refused(error.status));
    }
    return error instanceof Unanswered ? this.unreachable() : error;
  }

  unreachable(): ApiError {
    return new ApiError(0, "network", this.texts().shell.unreachable);
  }

  async #errorOf(response: Response): Promise<ApiError> {
    let said: { error?: { code?: string; message?: string }; detail?: unknown } | null = null;
    try {
      said = await response.json();
    } catch {
      // Not everything that answers speaks JSON.
    }
    const message = said?.error?.message ?? (typeof said?.detail === "string" ? said.detail : "");
    return new ApiError(response.status, said?.error?.code ?? "http", message || this.#refused(response.status));
  }

  #refused(status: number): string {
    return fill(this.texts().shell.refused, { status });
  }
}

function isChatKitFetch(given: unknown): given is ChatKitFetch {
  return typeof given === "function" && "resumeThread" in given && "stopRun" in given;
}
