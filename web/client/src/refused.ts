import { Passing, Refusal } from "./failures.js";
import { Unanswered } from "./post.js";

/** The code under which a request that was not done is told, and its message found. */
export function codeOf(error: unknown): string {
  if (error instanceof Refusal) return error.code;
  if (!(error instanceof Unanswered)) return "http";
  const { code, why } = error.last;
  if (code === "rate_limited" || code === "too_many_runs" || code === "too_many_streams") return code;
  if (error.mayHaveArrived) return "maybe_sent";
  return why === "status" ? "busy" : "not_sent";
}

/**
 * What a caller of fetch knows as a failure: an error answer, or a TypeError where the server was not reached.
 *
 * @param mayRepeat whether the caller may send it again; the stock widget does so after a 5xx
 */
export function refused(error: unknown, mayRepeat = true): Response {
  if (error instanceof Refusal) {
    const status = error.status < 400 ? 401 : error.status >= 500 && !mayRepeat ? 400 : error.status;
    return Response.json({ error: { code: error.code, message: error.said || error.code } }, { status });
  }
  if (error instanceof Unanswered || error instanceof Passing) {
    throw new TypeError("The server could not be reached.", { cause: error });
  }
  throw error;
}
