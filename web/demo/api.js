/** The ChatKit protocol and Relaykit's run endpoints over fetch. Own origin only: the token goes nowhere else. */

export class ApiError extends Error {
  constructor({ status, code, message, retryAfterMs = 0 }) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Worth trying again with the same body and key: nothing says that it cannot work. */
  get isTransient() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

export class Api {
  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session;
  }

  /** A non-streaming request; the answer's JSON. */
  async call(type, params) {
    const response = await this.#send("/chatkit", this.#post(type, params));
    return response.json();
  }

  /**
   * A streaming request. The answer's headers are there, its body is not read yet.
   * The same `idempotencyKey` attaches to the run that the first POST made.
   */
  stream(type, params, idempotencyKey) {
    const request = this.#post(type, params);
    request.headers = {
      ...request.headers,
      "Relaykit-Resume": "1",
      "Idempotency-Key": idempotencyKey,
      Accept: "text/event-stream",
    };
    return this.#send("/chatkit", request);
  }

  /** The run's events after `cursor`, or from its start. Status 200 or 204; anything else throws. */
  runEvents(runId, cursor, signal) {
    const headers = { "Relaykit-Resume": "1", Accept: "text/event-stream" };
    if (cursor) headers["Last-Event-ID"] = cursor;
    return this.#send(`/runs/${encodeURIComponent(runId)}/events`, { headers, signal, cache: "no-store" });
  }

  /** @returns {Promise<{id: string, status: string}|null>} the thread's active run */
  async activeRun(threadId) {
    const response = await this.#send(`/threads/${encodeURIComponent(threadId)}/run`, { cache: "no-store" });
    return response.status === 204 ? null : response.json();
  }

  async run(runId) {
    const response = await this.#send(`/runs/${encodeURIComponent(runId)}`, { cache: "no-store" });
    return response.json();
  }

  async cancel(runId) {
    await this.#send(`/runs/${encodeURIComponent(runId)}/cancel`, { method: "POST" });
  }

  #post(type, params) {
    const metadata = this.#metadata();
    const carriesMessage = type === "threads.create" || type === "threads.add_user_message";
    const body = {
      type,
      metadata,
      params: carriesMessage ? { ...params, input: { ...params.input, metadata } } : params,
    };
    return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  }

  #metadata() {
    const { sub } = this.session.identity;
    return {
      userInfo: { id: sub, name: sub },
      pageContext: { url: location.href, title: document.title, path: location.pathname },
    };
  }

  async #send(path, request) {
    let response = await this.#authorized(path, request);
    if (response.status === 401) {
      await this.session.renew();
      response = await this.#authorized(path, request);
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  async #authorized(path, request) {
    let token;
    try {
      token = await this.session.token();
      return await fetch(path, { ...request, headers: { ...request.headers, Authorization: `Bearer ${token}` } });
    } catch (error) {
      if (error.name === "AbortError" || request.signal?.aborted) throw error;
      throw new ApiError({ status: 0, code: "network", message: "The server cannot be reached." });
    }
  }
}

async function errorOf(response) {
  const retryAfterMs = (Number(response.headers.get("Retry-After")) || 0) * 1000;
  const body = await response.json().catch(() => null);
  return new ApiError({
    status: response.status,
    code: body?.error?.code ?? "http",
    message: body?.error?.message ?? `The server answered with status ${response.status}.`,
    retryAfterMs,
  });
}
