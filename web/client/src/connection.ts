import { callHook } from "./hooks.js";
import type { PageEnvironment } from "./page_environment.js";

/**
 * The state of the connection, for a page to show. `idle`: no answer is on its way. `connecting`: a message is being
 * sent. `signing_in`: a message waits because `getToken` has failed, and is asked again. `open`: events arrive.
 * `reconnecting`: the connection was lost and the client connects again. `offline`: the client has something to send or
 * to connect, and the browser reports no network.
 */
export type ConnectionState = "idle" | "connecting" | "signing_in" | "open" | "reconnecting" | "offline";

type Line = "connecting" | "signing_in" | "open" | "reconnecting";

/** The worst state of all answers that are on their way. The interface fits React's useSyncExternalStore. */
export class Connection {
  readonly #lines = new Map<symbol, Line>();
  readonly #listeners = new Set<() => void>();
  #state: ConnectionState = "idle";
  /** Ends the listening for changes of the network, which lasts as long as there is a line. */
  #listening: AbortController | null = null;

  constructor(private readonly environment: PageEnvironment) {}

  get state(): ConnectionState {
    return this.#state;
  }

  /** Calls `listener` after each change of `state`; the returned function unsubscribes it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @internal */
  set(key: symbol, line: Line | null): void {
    if (line === null) this.#lines.delete(key);
    else this.#lines.set(key, line);
    if (this.#lines.size === 0) {
      this.#listening?.abort();
      this.#listening = null;
    } else if (this.#listening === null) {
      this.#listening = new AbortController();
      this.environment.whenNetworkChanges(() => this.#update(), this.#listening.signal);
    }
    this.#update();
  }

  #update(): void {
    const state = this.#worst();
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) callHook(listener);
  }

  #worst(): ConnectionState {
    const lines = new Set(this.#lines.values());
    const isUnderWay = ["reconnecting", "connecting", "signing_in"].some((line) => lines.has(line as Line));
    if (isUnderWay && this.environment.isOffline) return "offline";
    if (lines.has("reconnecting")) return "reconnecting";
    if (lines.has("signing_in")) return "signing_in";
    if (lines.has("connecting")) return "connecting";
    return lines.has("open") ? "open" : "idle";
  }
}
