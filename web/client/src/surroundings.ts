import type { Wait } from "./backoff.js";

/** After `beforeunload` the page is gone by then, or was not left: a download, or a dialog that was answered with no. */
const UNLOAD_MS = 2_000;

/** What the browser says of itself; where there is none, it is online and nobody leaves. */
export class Surroundings {
  #isLeaving = false;
  readonly #target: EventTarget | null = typeof window === "undefined" ? null : window;

  constructor() {
    // An abort that comes with the page's end is not the user's Stop. A page that comes back from the cache is one
    // like any other. Captured, so that no handler of the page's own is earlier.
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

  /** Calls `onBack` whenever the network comes back, until `signal` aborts. */
  whenOnline(onBack: () => void, signal: AbortSignal): void {
    this.#target?.addEventListener("online", onBack, { signal });
  }

  /** Calls `onChange` whenever the network comes or goes, until `signal` aborts. */
  whenNetworkChanges(onChange: () => void, signal: AbortSignal): void {
    this.#target?.addEventListener("online", onChange, { signal });
    this.#target?.addEventListener("offline", onChange, { signal });
  }

  /**
   * Resolves after the wait, sooner when the network or the user is back, but not before what the server asked for;
   * rejects with the reason when `signal` aborts.
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

let shared: Surroundings | null = null;

/** One for all clients of a page. */
export function surroundings(): Surroundings {
  shared ??= new Surroundings();
  return shared;
}
