import { Refusal, TransientError } from "./failures.js";
import { Unanswered } from "./post.js";

/** What is told by the server's own code where its last answer was that: what to do depends on which limit it is. */
const LIMITS: readonly (string | null)[] = [
  "rate_limited",
  "tenant_rate_limited",
  "too_many_bodies",
  "too_many_queued",
  "too_many_runs",
  "too_many_streams",
];

/** The code for a failed request, by which the message for the person is found. */
export function codeOf(error: unknown): string {
  if (error instanceof Refusal) return error.code;
  if (!(error instanceof Unanswered)) return "http";
  const { code, why } = error.last;
  if (code !== null && LIMITS.includes(code)) return code;
  if (error.mayHaveArrived) return "maybe_sent";
  if (why === "token") return "no_token";
  return why === "status" ? "busy" : "not_sent";
}

/**
 * Turns a failure into what a caller of fetch expects: an error response, or a TypeError where the server was not
 * reached.
 *
 * @param mayRepeat whether the caller may send the request again; the stock widget does so after a 5xx
 */
export function errorResponse(error: unknown, mayRepeat = true): Response {
  if (error instanceof Refusal) {
    const status = error.status < 400 ? 401 : error.status >= 500 && !mayRepeat ? 400 : error.status;
    return Response.json({ error: { code: error.code, message: error.serverMessage || error.code } }, { status });
  }
  if (error instanceof Unanswered || error instanceof TransientError) {
    throw new TypeError("The server could not be reached.", { cause: error });
  }
  throw error;
}
