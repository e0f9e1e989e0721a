/**
 * What a page can show of its connection. `idle`: no answer is on its way. `connecting`: a message is being sent.
 * `open`: events come. `reconnecting`: the connection was lost and is being made anew. `offline`: the same, and the
 * browser says that there is no network.
 */
export type ConnectionState = "idle" | "connecting" | "open" | "reconnecting" | "offline";

type Line = "connecting" | "open" | "reconnecting";

/** The state over all answers that are on their way: the worst of them. Fits React's useSyncExternalStore. */
export class Connection {
  readonly #lines = new Map<symbol, Line>();
  readonly #listeners = new Set<() => void>();
  #state: ConnectionState = "idle";

  constructor(private readonly isOffline: () => boolean) {}

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
    const state = this.#worst();
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }

  #worst(): ConnectionState {
    const lines = new Set(this.#lines.values());
    if (lines.has("reconnecting")) return this.isOffline() ? "offline" : "reconnecting";
    if (lines.has("connecting")) return "connecting";
    return lines.has("open") ? "open" : "idle";
  }
}
