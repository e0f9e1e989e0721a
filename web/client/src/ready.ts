import { callHook } from "./hooks.js";

/**
 * The state of the script that defines the element. `error` may still become `ready`, because the script may be late.
 */
export type ScriptState = "pending" | "ready" | "error";

export interface ChatKitReady {
  readonly state: ScriptState;
  /** Calls `listener` after each change of `state`; the returned function unsubscribes it. */
  subscribe(listener: () => void): () => void;
}

export interface ChatKitReadyOptions {
  /** The element to wait for. Default `openai-chatkit`. */
  readonly element?: string;
  /** The wait for the element in ms; after it the state is `error`. Default 15,000. */
  readonly timeoutMs?: number;
}

/** The time that a script has to define the element once it has loaded. */
const DEFINE_MS = 500;

/**
 * Tells whether ChatKit's element can be used yet. The site loads the script itself. Where the script is in the page, a
 * failure to load is noticed within a second, also one before this call; otherwise the timeout notices it. Without a
 * DOM the state stays `pending`.
 */
export function chatKitReady({
  element = "openai-chatkit",
  timeoutMs = 15_000,
}: ChatKitReadyOptions = {}): ChatKitReady {
  const listeners = new Set<() => void>();
  let state: ScriptState = "pending";
  const become = (next: ScriptState) => {
    if (state === next || state === "ready") return;
    state = next;
    for (const listener of [...listeners]) callHook(listener);
  };
  if (typeof customElements !== "undefined") {
    if (customElements.get(element) !== undefined) state = "ready";
    else {
      const failed = () => become("error");
      const timer = setTimeout(failed, timeoutMs);
      const scripts = [...document.querySelectorAll<HTMLScriptElement>('script[src*="chatkit"]')];
      for (const script of scripts) script.addEventListener("error", failed);
      whenSettled(scripts, () => setTimeout(failed, DEFINE_MS));
      void customElements.whenDefined(element).then(() => {
        clearTimeout(timer);
        for (const script of scripts) script.removeEventListener("error", failed);
        become("ready");
      });
    }
  }
  return {
    get state() {
      return state;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * Calls `onSettled` once all scripts have loaded or failed. Until the page's `load` event all of its scripts have;
 * later the browser's list of what it has fetched tells.
 */
function whenSettled(scripts: readonly HTMLScriptElement[], onSettled: () => void): void {
  if (scripts.length === 0) return;
  if (document.readyState !== "complete") {
    addEventListener("load", onSettled, { once: true });
  } else if (scripts.every(({ src }) => performance.getEntriesByName(src, "resource").length > 0)) {
    onSettled();
  }
}
