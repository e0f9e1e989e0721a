import { Backoff } from "./backoff.js";
import type { ClientContext } from "./client_context.js";
import { TransientError } from "./failures.js";
import type { Outgoing } from "./http.js";

/** No try of the request was answered. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";

  constructor(
    readonly last: TransientError,
    readonly mayHaveArrived: boolean,
  ) {
    super(last.message);
  }
}

/** One request, which is sent until it is answered. */
export class Post {
  tries = 0;
  /** Whether an earlier try, or the one on its way, may have reached the server. */
  mayHaveArrived = false;

  constructor(
    private readonly context: ClientContext,
    private readonly outgoing: Outgoing,
    private readonly mayRepeat: (failure: TransientError) => boolean = () => true,
    /** Hears of each try that has failed, before the next one. */
    private readonly onFailure: (failure: TransientError) => void = () => {},
  ) {}

  /**
   * The answer. Raises `Refusal`, `Unanswered`, or the reason of the request's signal. Without a network no try counts.
   */
  async answered(): Promise<Response> {
    const { http, limits, environment } = this.context;
    const backoff = new Backoff(limits.postTries - 1, limits.maxWaitMs);
    for (;;) {
      const earlier = this.mayHaveArrived;
      const isOffline = environment.isOffline;
      this.tries += 1;
      try {
        return await http.send({
          ...this.outgoing,
          onSend: () => {
            this.mayHaveArrived = true;
          },
        });
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        this.onFailure(error);
        this.mayHaveArrived = earlier || (error.mayHaveArrived && !isOffline);
        const wait = this.mayRepeat(error) ? backoff.next(error.retryAfterMs, !isOffline) : null;
        if (wait === null) throw new Unanswered(error, this.mayHaveArrived);
        await environment.pause(wait, this.outgoing.signal);
      }
    }
  }
}
