/** Asks again and again, as long as somebody looks. */

const EVERY_MS = 3_000;
const LONGEST_MS = 60_000;

/**
 * @template T
 * @typedef {object} Asked
 * @property {(signal: AbortSignal) => Promise<T>} ask
 * @property {(answer: T) => void} show
 * @property {(error: unknown, nextTryAt: number | null) => void} fail `nextTryAt` is null where nothing asks again
 * @property {(error: unknown) => boolean} isPassing whether to ask again after this error
 * @property {(answer: T) => boolean} [isFinal] whether an answer will never change
 */

/**
 * One request at a time. It stops while the page is hidden, waits longer from failure to failure, and shows no answer
 * after one that was asked for later.
 * @template T
 */
export class Poll {
  /** @type {Asked<T>} */ #asked;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {AbortController | undefined} */ #request;
  #failures = 0;
  #number = 0;
  #isStopped = false;
  #isDone = false;
  #isPaused = false;

  /** @param {Asked<T>} asked */
  constructor(asked) {
    this.#asked = asked;
    document.addEventListener("visibilitychange", this.#seen);
    addEventListener("online", this.#seen);
    if (!document.hidden) this.now();
  }

  /** Asks at once; the answer to an earlier question is not waited for any more. */
  now() {
    if (this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#isDone = false;
    void this.#askOnce();
  }

  /** Whether nothing is asked until the person says so. */
  get isPaused() {
    return this.#isPaused;
  }

  set isPaused(isPaused) {
    this.#isPaused = isPaused;
    if (isPaused) this.#cease();
    else this.now();
  }

  stop() {
    this.#isStopped = true;
    this.#cease();
    document.removeEventListener("visibilitychange", this.#seen);
    removeEventListener("online", this.#seen);
  }

  #seen = () => {
    if (document.hidden) this.#cease();
    else if (!this.#isDone && !this.#isPaused) this.now();
  };

  #cease() {
    clearTimeout(this.#timer);
    this.#request?.abort();
  }

  async #askOnce() {
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    this.#number += 1;
    const number = this.#number;
    const isNewest = () => number === this.#number && !request.signal.aborted;
    try {
      const answer = await this.#asked.ask(request.signal);
      if (!isNewest()) return;
      this.#failures = 0;
      this.#isDone = this.#asked.isFinal?.(answer) ?? false;
      if (!this.#isDone) this.#again(EVERY_MS);
      this.#asked.show(answer);
    } catch (error) {
      if (!isNewest()) return;
      this.#fail(error);
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    clearTimeout(this.#timer);
    this.#isDone = !this.#asked.isPassing(error);
    this.#failures += 1;
    const waits = Math.min(LONGEST_MS, EVERY_MS * 2 ** (this.#failures - 1)) * (0.8 + Math.random() * 0.4);
    if (!this.#isDone) this.#again(waits);
    this.#asked.fail(error, this.#isDone ? null : Date.now() + waits);
  }

  /** @param {number} ms */
  #again(ms) {
    clearTimeout(this.#timer);
    if (!document.hidden && !this.#isPaused) this.#timer = setTimeout(() => this.now(), ms);
  }
}
