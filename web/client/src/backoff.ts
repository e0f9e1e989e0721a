/** Full jitter keeps the clients of a server that has come back apart; Retry-After is never undercut. */
const RETRY_AFTER_JITTER = 0.25;

/** How long to wait before the next try: doubling, with jitter, bounded in length and in number. */
export class Backoff {
  /** Of the first wait, ms; `retry:` of a stream sets it. */
  baseMs = 500;
  #tries = 0;

  constructor(
    private readonly maxTries: number,
    private readonly maxMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** Something has arrived: the next failure is the first again. */
  reset(): void {
    this.#tries = 0;
  }

  /** The next wait in ms, or null when there were enough. One that does not `count` only lengthens the wait. */
  next(retryAfterMs = 0, count = true): number | null {
    if (count && this.#tries >= this.maxTries) return null;
    const full = Math.min(this.maxMs, this.baseMs * 2 ** Math.min(this.#tries, 20));
    if (count || full < this.maxMs) this.#tries += 1;
    const jittered = full * (0.5 + this.random() / 2);
    if (retryAfterMs <= 0) return jittered;
    return Math.max(jittered, Math.min(retryAfterMs, this.maxMs * 4) * (1 + this.random() * RETRY_AFTER_JITTER));
  }
}

/** The `Retry-After` of an answer in ms, 0 where there is none. Seconds or a date (RFC 9110, 10.2.3). */
export function retryAfterMs(headers: Headers, nowMs: number = Date.now()): number {
  const value = headers.get("retry-after")?.trim() ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - nowMs);
}
