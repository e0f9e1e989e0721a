/** Calls of /ops/api, and who the caller is. The token is kept for this tab alone, and never in an address. */

const TOKEN = "relaykit.console.token";
const ANSWER_MS = 20_000;
const ACT_MS = 90_000;

/**
 * @typedef {{tenant: string, user: string, content: boolean}} Caller
 * @typedef {{id: string, host: string, pid: number, version: string, slots: number, used: number, started_at: number,
 *   draining: boolean, blocked_seconds: number, clock_offset_seconds: number | null}} Worker
 * @typedef {{state: Worker, silent_seconds: number}} SilentWorker
 * @typedef {{read_only: boolean, max_connections: number, sessions: number, active: number, wait_for_locks: number,
 *   idle_in_transaction: number, oldest_transaction_seconds: number}} Sessions
 * @typedef {{due: number, oldest_due_seconds: number, waiting: number, running: number, workers: number,
 *   draining: number, slots: number, used: number}} Queue
 * @typedef {{tenant: string, user: string, queued: number, running: number, waiting: number,
 *   oldest_due_seconds: number}} CallerLoad
 * @typedef {{id: number, at: string, actor: string, act: string, target: string, outcome: string | null}} Act
 * @typedef {{version: string, postgresql: string, redis: string, clock: Record<string, number | null>,
 *   database?: Sessions, workers?: Worker[], silent_workers?: SilentWorker[], queue?: Queue,
 *   ended_last_hour?: {status: string, error: string | null, count: number}[], acts?: Act[]}} Overview
 * @typedef {{worker_id: string, is_held: boolean}} Place
 * @typedef {{id: string, tenant: string, user: string, thread_id: string, kind: string, status: string,
 *   attempt: number, handed_back: number, cancel_requested: boolean, error: string | null, accepted_at: string,
 *   due_at: string, started_at: string | null, ended_at: string | null}} Run
 * @typedef {{runs: (Run & {worker: Place | null})[], next: string | null, redis: string}} RunPage
 * @typedef {{place: Place | null, lease_seconds: number | null, due_seconds: number | null, has_job: boolean}} Job
 * @typedef {Run & {max_attempts: number | null, received_at: string | null, awaited_item: string | null,
 *   awaited_until: string | null, job: Job | null, worker: Worker | null,
 *   acts: Act[], attempts: {attempt: number, entries: number | null}[], followers: number | null,
 *   trace_id: string | null, redis: string, content?: {input: unknown, context: unknown, anchor: unknown}}} RunDetails
 * @typedef {{cursor: string, kind: string, detail: string, bytes: number, at: string | null,
 *   data?: unknown}} RunEvent
 * @typedef {{events: RunEvent[], next: string | null}} EventPage
 * @typedef {{target: string, outcome: string, run_id?: string, is_new?: boolean, has_token?: boolean}} Outcome
 */

/** What the API has answered that is no success. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
    /** Whether another token is needed. The second claim is asked for where it is needed. */
    this.isSignIn = status === 401 || (status === 403 && code === "forbidden");
  }
}

/** No answer, or the half of one. */
export class Unreachable extends Error {}

const NO_JSON = "no_json";

/** Whether the same request may succeed later. @param {unknown} error */
export function isPassing(error) {
  if (error instanceof ApiError) return error.status === 429 || error.status >= 500 || error.code === NO_JSON;
  return error instanceof Unreachable || isLate(error);
}

/** @param {unknown} error */
function isLate(error) {
  return error instanceof DOMException && error.name === "TimeoutError";
}

/** One sentence. @param {unknown} error */
export function told(error) {
  if (error instanceof ApiError) return `${error.message} (${error.status} ${error.code})`;
  if (isLate(error)) return "The API has not answered in time.";
  if (error instanceof Unreachable) return "The API cannot be reached.";
  return `This page cannot show what the API has answered: ${error}`;
}

export class Api {
  /** @type {string | null} */ #token = sessionStorage.getItem(TOKEN);
  #isLocal = false;
  #skewMs = 0;

  get hasToken() {
    return this.#token !== null;
  }

  /** Whether a person has given a token. Local mode would ask for the next one at once. */
  get canSignOut() {
    return this.hasToken && !this.#isLocal;
  }

  /** Now, by the API's clock: the ages of what it tells are counted from there. */
  now() {
    return Date.now() + this.#skewMs;
  }

  /** @param {string} token */
  signIn(token) {
    this.#token = token;
    sessionStorage.setItem(TOKEN, token);
  }

  signOut() {
    this.#token = null;
    sessionStorage.removeItem(TOKEN);
  }

  /**
   * Who the caller is: by the site's cookie, by the token of this tab, or in local mode by a token of its issuer.
   * @returns {Promise<Caller>}
   */
  async caller() {
    const options = /** @type {{local: boolean}} */ (await this.#send("ops/options.json", {}, ANSWER_MS));
    this.#isLocal = options.local === true;
    try {
      return await this.get("caller");
    } catch (error) {
      // Whatever code says so, such as the site's own: somebody else may be let in.
      if (error instanceof ApiError && error.status === 403) error.isSignIn = error.code !== "cross_site_request";
      throw error;
    }
  }

  /**
   * @template T
   * @param {string} path below /ops/api
   * @param {URLSearchParams} [query]
   * @param {AbortSignal} [signal]
   * @returns {Promise<T>}
   */
  async get(path, query, signal) {
    const search = query?.size ? `?${query}` : "";
    return this.#authorized(`ops/api/${path}${search}`, signal ? { signal } : {}, ANSWER_MS);
  }

  /**
   * @param {string} path @param {object} [body]
   * @returns {Promise<Outcome>}
   */
  async post(path, body) {
    const content = body ? { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : {};
    return this.#authorized(`ops/api/${path}`, { method: "POST", ...content }, ACT_MS);
  }

  /**
   * @template T
   * @param {string} url @param {RequestInit} init @param {number} timeoutMs
   * @returns {Promise<T>}
   */
  async #authorized(url, init, timeoutMs) {
    const token = this.#token;
    try {
      return /** @type {T} */ (await this.#send(url, this.#withToken(init), timeoutMs));
    } catch (error) {
      if (!(this.#isLocal && error instanceof ApiError)) throw error;
      // A cookie, or the site's own code, may know the browser as a user of the chat.
      const isUser = error.status === 403 && error.code === "forbidden" && token === null;
      if (error.status !== 401 && !isUser) throw error;
      if (token === this.#token) await this.#askLocalIssuer();
      return /** @type {T} */ (await this.#send(url, this.#withToken(init), timeoutMs));
    }
  }

  /** @param {RequestInit} init @returns {RequestInit} */
  #withToken(init) {
    if (this.#token === null) return init;
    return {
      ...init,
      headers: { .../** @type {Record<string, string>} */ (init.headers), Authorization: `Bearer ${this.#token}` },
    };
  }

  async #askLocalIssuer() {
    const body = JSON.stringify({ sub: "operator", operator: true, ttl_seconds: 3600 });
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#send("dev/token", { method: "POST", body, headers }, ANSWER_MS);
    this.signIn(/** @type {{access_token: string}} */ (answer).access_token);
  }

  /**
   * @param {string} url @param {RequestInit} init @param {number} timeoutMs
   * @returns {Promise<unknown>}
   */
  async #send(url, init, timeoutMs) {
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
    const headers = { Accept: "application/json", ...init.headers };
    const [response, text] = await received(url, { ...init, signal, cache: "no-store", headers });
    const skewMs = Date.parse(response.headers.get("Date") ?? "") - Date.now();
    // The header has whole seconds, and is as old as the answer's way.
    this.#skewMs = Math.abs(skewMs) > 5_000 ? skewMs : 0;
    const answer = parsed(text);
    if (!response.ok) throw refusal(response, answer);
    if (answer === undefined) throw new ApiError(response.status, NO_JSON, "What has answered is not the API.");
    return answer;
  }
}

/** @param {string} url @param {RequestInit} init @returns {Promise<[Response, string]>} */
async function received(url, init) {
  try {
    const response = await fetch(url, init);
    return [response, await response.text()];
  } catch (error) {
    throw error instanceof TypeError ? new Unreachable() : error;
  }
}

/** @param {string} text @returns {unknown} undefined where it is no JSON */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param {Response} response @param {unknown} answer */
function refusal(response, answer) {
  const error = /** @type {{error?: {code?: unknown, message?: unknown}} | null | undefined} */ (answer)?.error;
  return new ApiError(
    response.status,
    typeof error?.code === "string" ? error.code : "http_error",
    typeof error?.message === "string" ? error.message : response.statusText || "The API has refused the request.",
  );
}
