/** The cause of a failure that another try may mend. */
export type Cause = "network" | "timeout" | "status" | "content_type" | "token" | "headers" | "silence" | "closed";

/** A try failed, and the next one may succeed. */
export class TransientError extends Error {
  override readonly name = "TransientError";

  /**
   * @param mayHaveArrived the server may have received and done the request
   * @param code the error code of the server's answer; null where the answer has none
   */
  constructor(
    readonly why: Cause,
    readonly mayHaveArrived: boolean,
    readonly retryAfterMs = 0,
    readonly code: string | null = null,
    override readonly cause: unknown = undefined,
  ) {
    super(code ?? why);
  }
}

/** No further try can succeed, because the server refused the request or no user is signed in. */
export class Refusal extends Error {
  override readonly name = "Refusal";

  /**
   * @param code a code of docs/protocol.md, or `signed_out`, `redirected`, `http`
   * @param serverMessage the server's message for people; empty where its answer has none. `message` is the code then
   */
  constructor(
    readonly status: number,
    readonly code: string,
    readonly serverMessage = "",
    readonly threadId: string | null = null,
  ) {
    super(serverMessage || code);
  }
}
