/** Waits between tries: doubling, with jitter, bounded in length and number; cut short when the network is back. */
export class Backoff {
  baseMs = 500;
  maxMs = 15_000;
  #tries = 0;

  constructor({ maxTries = 9 } = {}) {
    this.maxTries = maxTries;
  }

  /** Something arrived: the next failure starts from the shortest wait again. */
  reset() {
    this.#tries = 0;
  }

  /**
   * @param {AbortSignal} signal
   * @param {number} [atLeastMs] what the server asked for in Retry-After
   * @returns {Promise<boolean>} false when it is time to give up
   */
  async wait(signal, atLeastMs = 0) {
    if (this.#tries >= this.maxTries) return false;
    const full = Math.min(this.maxMs, this.baseMs * 2 ** this.#tries);
    this.#tries += 1;
    await pause(Math.max(atLeastMs, full * (0.5 + Math.random() / 2)), signal);
    return true;
  }
}

/** Resolves after `ms`, at once when the browser comes back online, and rejects when `signal` aborts. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const finish = (settle) => () => {
      clearTimeout(timer);
      window.removeEventListener("online", onOnline);
      signal?.removeEventListener("abort", onAbort);
      settle();
    };
    const onOnline = finish(resolve);
    const onAbort = finish(() => reject(signal.reason));
    const timer = setTimeout(onOnline, ms);
    if (signal?.aborted) return onAbort();
    window.addEventListener("online", onOnline);
    signal?.addEventListener("abort", onAbort);
  });
}
