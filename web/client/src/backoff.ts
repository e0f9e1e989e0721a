/** Keeps those apart that were all sent away with the same Retry-After, which is never undercut. */
const RETRY_AFTER_JITTER = 0.25;
/** So many times the longest wait is what a server may ask for. */
const MAX_RETRY_AFTER = 4;

/** What comes before the next try, in ms. */
export interface Wait {
  readonly ms: number;
  /** Of it, what the server has asked for: no event of the page cuts it short. */
  readonly atLeastMs: number;
}

/** How long to wait before the next try: doubling, with jitter, bounded in length and in number. */
export class Backoff {
  /** Of the first wait, ms; `retry:` of a stream sets it. */
  baseMs = 500;
  #tries = 0;
  #doublings = 0;

  constructor(
    private readonly maxTries: number,
    private readonly maxMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** Something has arrived: the next failure is the first again. */
  reset(): void {
    this.#tries = 0;
    this.#doublings = 0;
  }

  /** The next wait, or null when there were enough that counted. */
  next(retryAfterMs = 0, counts = true): Wait | null {
    if (counts) {
      if (this.#tries >= this.maxTries) return null;
      this.#tries += 1;
    }
    const full = Math.min(this.maxMs, this.baseMs * 2 ** this.#doublings);
    if (full < this.maxMs) this.#doublings += 1;
    const asked = Math.min(retryAfterMs, this.maxMs * MAX_RETRY_AFTER) * (1 + this.random() * RETRY_AFTER_JITTER);
    return { ms: Math.max(full * (0.5 + this.random() / 2), asked), atLeastMs: asked };
  }
}

/** The `Retry-After` of an answer in ms, 0 where there is none. Seconds or a date (RFC 9110, 10.2.3). */
export function retryAfterMs(headers: Headers, nowMs: number = Date.now()): number {
  const value = headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - nowMs);
}
