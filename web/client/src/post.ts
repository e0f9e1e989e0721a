import { Backoff } from "./backoff.js";
import { Passing } from "./failures.js";
import type { Means } from "./follow.js";
import type { Outgoing } from "./http.js";

/** Nobody answered, as often as it was tried. */
export class Unanswered extends Error {
  override readonly name = "Unanswered";

  constructor(
    readonly last: Passing,
    readonly mayHaveArrived: boolean,
  ) {
    super(last.message);
  }
}

/** One request, sent until it is answered. */
export class Post {
  tries = 0;
  /** An earlier try, or the one on its way, may have reached the server. */
  mayHaveArrived = false;

  constructor(
    private readonly means: Means,
    private readonly outgoing: Outgoing,
    private readonly mayRepeat: (failure: Passing) => boolean = () => true,
  ) {}

  /** Raises `Refusal`, `Unanswered`, or the reason of the request's signal. Without a network no try counts. */
  async answered(): Promise<Response> {
    const { http, limits, surroundings } = this.means;
    const backoff = new Backoff(limits.postTries - 1, limits.maxWaitMs);
    for (;;) {
      const earlier = this.mayHaveArrived;
      const isOffline = surroundings.isOffline;
      this.tries += 1;
      try {
        return await http.send({
          ...this.outgoing,
          onSend: () => {
            this.mayHaveArrived = true;
          },
        });
      } catch (error) {
        if (!(error instanceof Passing)) throw error;
        this.mayHaveArrived = earlier || (error.mayHaveArrived && !isOffline);
        const wait = this.mayRepeat(error) ? backoff.next(error.retryAfterMs, !isOffline) : null;
        if (wait === null) throw new Unanswered(error, this.mayHaveArrived);
        await surroundings.pause(wait, this.outgoing.signal);
      }
    }
  }
}
