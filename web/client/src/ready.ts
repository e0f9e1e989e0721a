import { tell } from "./telemetry.js";

/** Of the script that defines the element. It may still come after an error: `ready` is always true at last. */
export type ScriptState = "pending" | "ready" | "error";

export interface ChatKitReady {
  readonly state: ScriptState;
  /** Calls `listener` after each change of `state`; returns what ends that. */
  subscribe(listener: () => void): () => void;
}

export interface ChatKitReadyOptions {
  /** The element to wait for. Default `openai-chatkit`. */
  readonly element?: string;
  /** After so long without the element the state is `error`, ms. Default 15,000. */
  readonly timeoutMs?: number;
}

/**
 * Whether ChatKit's element can be used yet. The script itself is the site's to load; one that fails to load says so
 * at once where it is in the page already, and by the timeout where it is not. Without a DOM it stays `pending`.
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
    for (const listener of [...listeners]) tell(listener);
  };
  if (typeof customElements !== "undefined") {
    if (customElements.get(element) !== undefined) state = "ready";
    else {
      const failed = () => become("error");
      const timer = setTimeout(failed, timeoutMs);
      const scripts = [...document.querySelectorAll<HTMLScriptElement>('script[src*="chatkit"]')];
      for (const script of scripts) script.addEventListener("error", failed);
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
