import { retryAfterMs } from "./backoff.js";
import { Passing, Refusal } from "./failures.js";
import { asRecord } from "./protocol.js";
import { report } from "./telemetry.js";
import type { Tokens } from "./tokens.js";

/** What is worth another try, besides 5xx: nothing says that it cannot work. */
const PASSING_STATUSES = new Set([408, 425, 429]);
/** With these the server, or what stands before it, has not begun. */
const NOT_BEGUN_STATUSES = new Set([425, 429, 503]);
/** Source: https://fetch.spec.whatwg.org/#null-body-status */
const NO_BODY = new Set([101, 103, 204, 205, 304]);
/** A defect of the server's, and a refusal by the site's own code: the same request meets them again, whatever the status. */
const FINAL_CODES: ReadonlySet<string | null> = new Set(["internal", "server_refused"]);

export const EVENT_STREAM = "text/event-stream";
export const JSON_TYPE = "application/json";

export interface Outgoing {
  readonly url: string;
  readonly method: string;
  readonly headers?: Headers;
  readonly body?: string;
  readonly keepalive?: boolean;
  /** The media type that an answer with a body must have. */
  readonly expects: typeof EVENT_STREAM | typeof JSON_TYPE;
  /** Ends the request, and after it the reading of the answer's body. */
  readonly signal: AbortSignal;
  /** For the head of the answer, and for a body that is JSON. */
  readonly timeoutMs: number;
  /** Called right before something leaves. */
  readonly onSend?: () => void;
}

/** Requests to the API, with the site's credentials. */
export class Http {
  constructor(
    private readonly fetch: () => typeof globalThis.fetch,
    private readonly tokens: Tokens | null,
    private readonly extraHeaders: () => Promise<Headers>,
    private readonly credentials: RequestCredentials,
    private readonly onSignInRequired: () => void,
  ) {}

  /**
   * The answer, once its head is there, or all of it where it is JSON: 2xx, and of the expected type unless it has no
   * body. Raises `Passing`, `Refusal`, or the signal's reason. A 401 is answered with another token first.
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

  /** `headers` with the site's own and the token, for a request that somebody else sends. */
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
      throw new Passing("token", false, 0, null, error);
    }
    if (token === null) {
      this.onSignInRequired();
      throw new Refusal(401, "signed_out");
    }
    return token;
  }

  async #headers(given: Headers | undefined, token: string | null): Promise<Headers> {
    const headers = new Headers(given);
    try {
      for (const [name, value] of await this.extraHeaders()) headers.set(name, value);
      if (token !== null) headers.set("authorization", `Bearer ${token}`);
    } catch (error) {
      report(error);
      throw new Passing("headers", false, 0, null, error);
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
        // A redirect would take the credentials elsewhere.
        redirect: "manual",
        cache: "no-store",
        signal: request.signal,
        ...(body === undefined ? {} : { body }),
        ...(keepalive ? { keepalive } : {}),
      });
      const isStream = response.ok && isOf(response, EVENT_STREAM);
      return { response: isStream ? response : await whole(response), abort: () => request.abort() };
    } catch (error) {
      request.abort();
      signal.throwIfAborted();
      throw new Passing(isLate ? "timeout" : "network", true, 0, null, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async #accepted(outgoing: Outgoing, { response, abort }: Answer): Promise<Response> {
    const { status } = response;
    const isExpected = isOf(response, outgoing.expects);
    if (response.ok && isExpected && outgoing.expects === EVENT_STREAM) return response;
    // All there is has been read: what belongs to the request goes.
    abort();
    if (response.ok) {
      if (status === 204 || isExpected) return response;
      throw new Passing("content_type", true);
    }
    if (response.type === "opaqueredirect" || (status >= 300 && status < 400)) {
      this.onSignInRequired();
      throw new Refusal(status, "redirected");
    }
    const { code, said, threadId } = await errorOf(response);
    if ((PASSING_STATUSES.has(status) || status >= 500) && !FINAL_CODES.has(code)) {
      throw new Passing("status", !NOT_BEGUN_STATUSES.has(status), retryAfterMs(response.headers), code);
    }
    if (status === 401) this.onSignInRequired();
    throw new Refusal(status, code ?? (status === 401 ? "unauthenticated" : "http"), said, threadId);
  }
}

interface Answer {
  readonly response: Response;
  /** Gives the connection back, and ends the reading of the body. */
  readonly abort: () => void;
}

/**
 * The same answer with its body read. One that can have none, or to a redirect that was not followed, as it is: Chromium
 * gives a 204 a body, and makes none that has one.
 */
async function whole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  if (response.body === null || NO_BODY.has(status) || response.type === "opaqueredirect") return response;
  return new Response(await response.arrayBuffer(), { status, statusText, headers });
}

async function errorOf(response: Response): Promise<{ code: string | null; said: string; threadId: string | null }> {
  // A body that is no JSON takes nothing from what the status says.
  const body: unknown = isOf(response, JSON_TYPE) ? await response.json().catch(() => null) : null;
  const error = asRecord(asRecord(body).error);
  const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
  return { code: text(error.code), said: text(error.message) ?? "", threadId: text(error.thread_id) };
}

/** The promise, or the signal's reason if that is sooner. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    signal.addEventListener("abort", () => reject(signal.reason), { signal: over.signal });
    promise.then(resolve, reject).finally(() => over.abort());
    if (signal.aborted) reject(signal.reason);
  });
}

export function isOf(response: Response, mediaType: string): boolean {
  const [given = ""] = (response.headers.get("content-type") ?? "").split(";");
  return given.trim().toLowerCase() === mediaType;
}
