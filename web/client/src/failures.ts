/** Why a try failed that the next one may mend. */
export type Cause = "network" | "timeout" | "status" | "content_type" | "token" | "headers" | "silence" | "closed";

/** The next try may work. */
export class Passing extends Error {
  override readonly name = "Passing";

  /**
   * @param mayHaveArrived the server may have done what was asked
   * @param code the server's own, where it gave one
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

/** No further try can work: the server, or nobody being signed in, has refused it. */
export class Refusal extends Error {
  override readonly name = "Refusal";

  /**
   * @param code one of docs/protocol.md, or `signed_out`, `redirected`, `http`
   * @param said the server's own words, for people; empty where it said none
   */
  constructor(
    readonly status: number,
    readonly code: string,
    readonly said = "",
    readonly threadId: string | null = null,
  ) {
    super(said || code);
  }
}
