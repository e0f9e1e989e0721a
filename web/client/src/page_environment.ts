import type { Wait } from "./backoff.js";

/**
 * This long after `beforeunload` the page counts as kept: the event came from a download, or from a dialog in which the
 * user chose to stay.
 */
const UNLOAD_MS = 2_000;

/** The state of the browser and its page. Without a browser the network counts as online and the page as kept. */
export class PageEnvironment {
  #isLeaving = false;
  readonly #target: EventTarget | null = typeof window === "undefined" ? null : window;

  constructor() {
    // The listeners are captured so that they run before the page's own: an abort by a page that is being left is not
    // the user's Stop. A page that returns from the back/forward cache is not being left any more.
    const listen = (type: string, listener: () => void) =>
      this.#target?.addEventListener(type, listener, { capture: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const leave = (isLeaving: boolean) => {
      clearTimeout(timer);
      this.#isLeaving = isLeaving;
    };
    listen("pagehide", () => leave(true));
    listen("pageshow", () => leave(false));
    listen("beforeunload", () => {
      leave(true);
      timer = setTimeout(leave, UNLOAD_MS, false);
    });
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  get isOffline(): boolean {
    return typeof navigator !== "undefined" && navigator.onLine === false;
  }

  /** Calls `onBack` each time that the network comes back, until `signal` aborts. */
  whenOnline(onBack: () => void, signal: AbortSignal): void {
    this.#target?.addEventListener("online", onBack, { signal });
  }

  /** Calls `onChange` each time that the network comes or goes, until `signal` aborts. */
  whenNetworkChanges(onChange: () => void, signal: AbortSignal): void {
    this.#target?.addEventListener("online", onChange, { signal });
    this.#target?.addEventListener("offline", onChange, { signal });
  }

  /**
   * Resolves after the wait, or sooner when the network or the user is back, but not before the time that the server
   * asked for. Rejects with the reason when `signal` aborts.
   */
  pause({ ms, atLeastMs }: Wait, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const over = new AbortController();
      const endsAtMs = Date.now() + atLeastMs;
      let timer = setTimeout(() => finish(resolve), ms);
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        over.abort();
        settle();
      };
      const sooner = () => {
        clearTimeout(timer);
        timer = setTimeout(() => finish(resolve), Math.max(0, endsAtMs - Date.now()));
      };
      signal.addEventListener("abort", () => finish(() => reject(signal.reason)), { signal: over.signal });
      this.whenOnline(sooner, over.signal);
      if (typeof document === "undefined") return;
      const seen = () => document.visibilityState === "visible" && sooner();
      document.addEventListener("visibilitychange", seen, { signal: over.signal });
    });
  }
}

let shared: PageEnvironment | null = null;

/** The environment that all clients of a page share. */
export function pageEnvironment(): PageEnvironment {
  shared ??= new PageEnvironment();
  return shared;
}
