/** Spreads the clients that were sent away with the same Retry-After. The wait is never shorter than Retry-After. */
const RETRY_AFTER_JITTER = 0.25;
/** A server may ask for at most this many times the longest wait. */
const MAX_RETRY_AFTER = 4;

/** The wait before the next try, in ms. */
export interface Wait {
  readonly ms: number;
  /** The part of it that the server asked for, which no event of the page cuts short. */
  readonly atLeastMs: number;
}

/** The waits before the next tries: doubling, with jitter, bounded in length and in number. */
export class Backoff {
  /** The length of the first wait in ms; `retry:` of a stream sets it. */
  baseMs = 500;
  #tries = 0;
  #doublings = 0;

  constructor(
    private readonly maxTries: number,
    private readonly maxMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** Starts over, because something has arrived: the next failure counts as the first. */
  reset(): void {
    this.#tries = 0;
    this.#doublings = 0;
  }

  /** The next wait, or null when as many tries as allowed have counted. */
  next(retryAfterMs = 0, counts = true): Wait | null {
    if (counts) {
      if (this.#tries >= this.maxTries) return null;
      this.#tries += 1;
    }
    const full = Math.min(this.maxMs, this.baseMs * 2 ** this.#doublings);
    if (full < this.maxMs) this.#doublings += 1;
    const atLeastMs = Math.min(retryAfterMs, this.maxMs * MAX_RETRY_AFTER) * (1 + this.random() * RETRY_AFTER_JITTER);
    return { ms: Math.max(full * (0.5 + this.random() / 2), atLeastMs), atLeastMs };
  }
}

/** The `Retry-After` of an answer in ms, 0 where it has none. It is in seconds or a date (RFC 9110, 10.2.3). */
export function retryAfterMs(headers: Headers, nowMs: number = Date.now()): number {
  const value = headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - nowMs);
}
