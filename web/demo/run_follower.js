import { Backoff } from "./backoff.js";
import { SseParser } from "./sse.js";

/** Heartbeats come every 15 seconds; a connection silent for this long is dead, whatever the browser believes. */
const SILENCE_MS = 45_000;

/**
 * Posts a streaming request until the server answers it, or says that it will not: the same body with the same key
 * reaches the same run, so that trying again is safe. Throws ApiError.
 */
export async function postUntilAnswered(api, type, params, key) {
  const backoff = new Backoff({ maxTries: 4 });
  for (;;) {
    try {
      return await api.stream(type, params, key);
    } catch (error) {
      if (!error.isTransient || !(await backoff.wait(null, error.retryAfterMs))) throw error;
    }
  }
}

/**
 * Follows one run to its end, over as many connections as it takes.
 *
 * @param {object} options
 * @param {import("./api.js").Api} options.api
 * @param {string} options.runId
 * @param {Response} [options.response] the POST's answer, when this client began the run
 * @param {string|null} [options.cursor] where to go on; null replays the run from its start
 * @param {(event: object, cursor: string|null) => void} options.onEvent each event once, in order
 * @param {(connected: boolean) => void} options.onConnection
 * @param {AbortSignal} options.signal ends the following; it does not stop the run
 * @returns {Promise<{status: "completed"|"failed"|"cancelled"|"ended"|"gone"|"missing"|"lost", cursor: string|null}>}
 *   `ended`: over, and nothing came after the cursor. `gone`: the journal cannot give what follows the cursor.
 *   `missing`: no such run for this user. `lost`: gave up reaching the server; the run may go on.
 */
export async function followRun({ api, runId, response = null, cursor = null, onEvent, onConnection, signal }) {
  const backoff = new Backoff();
  const position = { cursor };
  for (;;) {
    let retryAfterMs = 0;
    try {
      response ??= await api.runEvents(runId, position.cursor, signal);
      if (response.status === 204) return { status: "ended", cursor: position.cursor };
      onConnection(true);
      const end = await readStream(response, { position, backoff, onEvent, signal });
      if (end) return { status: end, cursor: position.cursor };
    } catch (error) {
      signal.throwIfAborted();
      if (error.status === 410) return { status: "gone", cursor: position.cursor };
      if (error.status && !error.isTransient) return { status: "missing", cursor: position.cursor };
      if (error.fatal) throw error;
      retryAfterMs = error.retryAfterMs ?? 0;
    }
    response = null;
    onConnection(false);
    if (!(await backoff.wait(signal, retryAfterMs))) return { status: "lost", cursor: position.cursor };
  }
}

/** Reads one connection. Returns the end's status, or null when the connection closed without the end. */
async function readStream(response, { position, backoff, onEvent, signal }) {
  let end = null;
  const parser = new SseParser({
    onEvent: ({ id, data }) => {
      onEvent(JSON.parse(data), id);
      position.cursor = id ?? position.cursor;
      backoff.reset();
    },
    onComment: (text) => {
      const match = /^end (completed|failed|cancelled)$/.exec(text);
      if (match) end = match[1];
    },
    onRetry: (ms) => {
      backoff.baseMs = Math.min(ms, backoff.maxMs);
    },
  });
  const reader = response.body.getReader();
  const leave = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", leave);
  let silence = setTimeout(leave, SILENCE_MS);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      if (done) return end;
      clearTimeout(silence);
      silence = setTimeout(leave, SILENCE_MS);
      feed(parser, value);
      if (end) return end;
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", leave);
    leave();
  }
}

/** A failure while applying an event is a bug of the page, not of the network: no reconnect mends it. */
function feed(parser, bytes) {
  try {
    parser.feed(bytes);
  } catch (error) {
    error.fatal = true;
    throw error;
  }
}
