import { retryAfterMs } from "./backoff.js";
import { Refusal, TransientError } from "./failures.js";
import { report } from "./hooks.js";
import { asRecord } from "./protocol.js";
import type { Tokens } from "./tokens.js";

/** The statuses that are worth another try, besides 5xx. */
const TRANSIENT_STATUSES = new Set([408, 425, 429]);
/** With these statuses the server, or a proxy before it, has not begun the request. */
const NOT_BEGUN_STATUSES = new Set([425, 429, 503]);
/** The statuses of answers without a body. Source: https://fetch.spec.whatwg.org/#null-body-status */
const NO_BODY = new Set([101, 103, 204, 205, 304]);
/**
 * The codes of a defect and of a refusal by the site's code, which the same request meets again, whatever the status.
 */
const FINAL_CODES: ReadonlySet<string | null> = new Set(["internal", "server_refused"]);

export const EVENT_STREAM = "text/event-stream";
export const JSON_TYPE = "application/json";

/** A request to the API, complete but for the site's credentials. */
export interface Outgoing {
  readonly url: string;
  readonly method: string;
  readonly headers?: Headers;
  readonly body?: string;
  readonly keepalive?: boolean;
  /** The media type of every answer with a body. */
  readonly expects: typeof EVENT_STREAM | typeof JSON_TYPE;
  /** Ends the request, and later the reading of the answer's body. */
  readonly signal: AbortSignal;
  /** Bounds the wait for the answer's head, and for its body where that is JSON. */
  readonly timeoutMs: number;
  /** Called right before the request is sent. */
  readonly onSend?: () => void;
}

/** Sends requests to the API, with the site's credentials. */
export class Http {
  constructor(
    private readonly fetch: () => typeof globalThis.fetch,
    private readonly tokens: Tokens | null,
    private readonly extraHeaders: () => Promise<Headers>,
    private readonly credentials: RequestCredentials,
    private readonly onSignInRequired: () => void,
  ) {}

  /**
   * The answer, once its head has arrived, or all of it where it is JSON. It is a 2xx of the expected type, unless it
   * has no body. After a 401 the request is sent once more, with another token. Raises `TransientError`, `Refusal`, or
   * the signal's reason.
   */
  async send(outgoing: Outgoing): Promise<Response> {
    const token = await this.#token(outgoing.signal, (tokens) => tokens.current());
    let answer = await this.#once(outgoing, token);
    if (answer.response.status === 401 && this.tokens !== null) {
      answer.abort();
      const another = await this.#token(outgoing.signal, (tokens) => tokens.after(token));
      answer = await this.#once(outgoing, another);
    }
    return this.#accepted(outgoing, answer);
  }

  /** `headers` with the site's own and the token, for a request that the caller sends itself. */
  async authorized(headers: Headers, signal: AbortSignal): Promise<Headers> {
    const token = await this.#token(signal, (tokens) => tokens.current());
    return this.#headers(headers, token);
  }

  async #token(signal: AbortSignal, ask: (tokens: Tokens) => Promise<string | null>): Promise<string | null> {
    if (this.tokens === null) return null;
    let token: string | null;
    try {
      token = await unlessAborted(ask(this.tokens), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw new TransientError("token", false, 0, null, error);
    }
    if (token === null) {
      this.onSignInRequired();
      throw new Refusal(401, "signed_out");
    }
    return token;
  }

  async #headers(base: Headers | undefined, token: string | null): Promise<Headers> {
    const headers = new Headers(base);
    try {
      for (const [name, value] of await this.extraHeaders()) headers.set(name, value);
      if (token !== null) headers.set("authorization", `Bearer ${token}`);
    } catch (error) {
      report(error);
      throw new TransientError("headers", false, 0, null, error);
    }
    return headers;
  }

  async #once(outgoing: Outgoing, token: string | null): Promise<Answer> {
    const { url, method, body, keepalive, signal, timeoutMs } = outgoing;
    const headers = await this.#headers(outgoing.headers, token);
    headers.set("accept", outgoing.expects);
    signal.throwIfAborted();
    const request = new AbortController();
    signal.addEventListener("abort", () => request.abort(signal.reason), { signal: request.signal });
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      request.abort();
    }, timeoutMs);
    try {
      outgoing.onSend?.();
      const response = await this.fetch()(url, {
        method,
        headers,
        credentials: this.credentials,
        // A redirect is not followed because it could take the credentials to another origin.
        redirect: "manual",
        cache: "no-store",
        signal: request.signal,
        ...(body === undefined ? {} : { body }),
        ...(keepalive ? { keepalive } : {}),
      });
      const isStream = response.ok && isOf(response, EVENT_STREAM);
      return { response: isStream ? response : await readBody(response), abort: () => request.abort() };
    } catch (error) {
      request.abort();
      signal.throwIfAborted();
      throw new TransientError(isLate ? "timeout" : "network", true, 0, null, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #accepted(outgoing: Outgoing, { response, abort }: Answer): Promise<Response> {
    const { status } = response;
    const isExpected = isOf(response, outgoing.expects);
    if (response.ok && isExpected && outgoing.expects === EVENT_STREAM) return response;
    // The body has been read, so the request's listeners are removed.
    abort();
    if (response.ok) {
      if (status === 204 || isExpected) return response;
      throw new TransientError("content_type", true);
    }
    if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
      this.onSignInRequired();
      throw new Refusal(status, "redirected");
    }
    const { code, message, threadId } = await errorOf(response);
    if ((TRANSIENT_STATUSES.has(status) || status >= 500) && !FINAL_CODES.has(code)) {
      throw new TransientError("status", !NOT_BEGUN_STATUSES.has(status), retryAfterMs(response.headers), code);
    }
    if (status === 401) this.onSignInRequired();
    throw new Refusal(status, code ?? (status === 401 ? "unauthenticated" : "http"), message, threadId);
  }
}

interface Answer {
  readonly response: Response;
  /** Releases the connection and ends the reading of the body. */
  readonly abort: () => void;
}

/**
 * The same answer with its body read. An answer that can have no body, or a redirect that was not followed, is returned
 * as it is, because Chromium gives a 204 a body and refuses to construct one that has a body.
 */
async function readBody(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  if (response.body === null || NO_BODY.has(status) || response.type === "opaqueredirect") return response;
  return new Response(await response.arrayBuffer(), { status, statusText, headers });
}

async function errorOf(response: Response): Promise<{ code: string | null; message: string; threadId: string | null }> {
  // A body that is not JSON is ignored because the status alone tells the error.
  const body: unknown = isOf(response, JSON_TYPE) ? await response.json().catch(() => null) : null;
  const error = asRecord(asRecord(body).error);
  const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
  return { code: text(error.code), message: text(error.message) ?? "", threadId: text(error.thread_id) };
}

/** The promise's result, or a rejection with the signal's reason where that is sooner. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    signal.addEventListener("abort", () => reject(signal.reason), { signal: over.signal });
    promise.then(resolve, reject).finally(() => over.abort());
    if (signal.aborted) reject(signal.reason);
  });
}

export function isOf(response: Response, mediaType: string): boolean {
  const [type = ""] = (response.headers.get("content-type") ?? "").split(";");
  return type.trim().toLowerCase() === mediaType;
}
