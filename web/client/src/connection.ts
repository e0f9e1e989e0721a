import type { Surroundings } from "./surroundings.js";
import { tell } from "./telemetry.js";

/**
 * What a page can show of its connection. `idle`: no answer is on its way. `connecting`: a message is being sent.
 * `open`: events come. `reconnecting`: the connection was lost and is being made anew. `offline`: something is to be
 * sent or connected, and the browser says that there is no network.
 */
export type ConnectionState = "idle" | "connecting" | "open" | "reconnecting" | "offline";

type Line = "connecting" | "open" | "reconnecting";

/** The state over all answers that are on their way: the worst of them. Fits React's useSyncExternalStore. */
export class Connection {
  readonly #lines = new Map<symbol, Line>();
  readonly #listeners = new Set<() => void>();
  #state: ConnectionState = "idle";
  /** The network is listened to while there is a line. */
  #listening: AbortController | null = null;

  constructor(private readonly surroundings: Surroundings) {}

  get state(): ConnectionState {
    return this.#state;
  }

  /** Calls `listener` after each change of `state`; returns what ends that. */
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
      this.surroundings.whenNetworkChanges(() => this.#look(), this.#listening.signal);
    }
    this.#look();
  }

  #look(): void {
    const state = this.#worst();
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) tell(listener);
  }

  #worst(): ConnectionState {
    const lines = new Set(this.#lines.values());
    const isUnderWay = lines.has("reconnecting") || lines.has("connecting");
    if (isUnderWay && this.surroundings.isOffline) return "offline";
    if (lines.has("reconnecting")) return "reconnecting";
    if (lines.has("connecting")) return "connecting";
    return lines.has("open") ? "open" : "idle";
  }
}
