/** What the browser says of itself; where there is none, it is online and nobody leaves. */
export class Surroundings {
  #leaving = false;
  readonly #target: EventTarget | null;

  constructor() {
    this.#target = typeof window === "undefined" ? null : window;
    // An abort that comes with the page's end is not the user's Stop. Back from the cache, or still here after a
    // dialog that asked, it is a page like any other.
    this.#target?.addEventListener("pagehide", () => this.#leave());
    this.#target?.addEventListener("beforeunload", () => this.#leave());
    for (const type of ["pageshow", "pointerdown", "keydown"]) {
      this.#target?.addEventListener(type, () => this.#stay(), { capture: true });
    }
  }

  get isLeaving(): boolean {
    return this.#leaving;
  }

  get isOffline(): boolean {
    return typeof navigator !== "undefined" && navigator.onLine === false;
  }

  /** Calls `onBack` whenever the network comes back, until `signal` aborts. */
  whenOnline(onBack: () => void, signal: AbortSignal): void {
    this.#target?.addEventListener("online", onBack, { signal });
  }

  /** Resolves after `ms`, sooner when the network or the user is back; rejects with the reason when `signal` aborts. */
  pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const over = new AbortController();
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        over.abort();
        settle();
      };
      const timer = setTimeout(() => finish(resolve), ms);
      signal.addEventListener("abort", () => finish(() => reject(signal.reason)), { signal: over.signal });
      this.#target?.addEventListener("online", () => finish(resolve), { signal: over.signal });
      if (typeof document === "undefined") return;
      const seen = () => document.visibilityState === "visible" && finish(resolve);
      document.addEventListener("visibilitychange", seen, { signal: over.signal });
    });
  }

  #leave(): void {
    this.#leaving = true;
  }

  #stay(): void {
    this.#leaving = false;
  }
}
