/** A message of a tab to the others. It has only ids, because another user in another tab may not see the thread. */
export type TabMessage =
  | { readonly type: "run"; readonly threadId: string; readonly runId: string | null }
  | { readonly type: "threads" }
  | { readonly type: "deleted"; readonly threadId: string };

/** Tells the other tabs with the same chat what happened in this one. */
export class Tabs {
  readonly #channel: BroadcastChannel;
  #isClosed = false;

  /** @param url the ChatKit endpoint's; only tabs with the same one get the messages */
  constructor(url: string, listener: (message: TabMessage) => void) {
    this.#channel = new BroadcastChannel(`relaykit:${new URL(url, location.href).href}`);
    this.#channel.addEventListener("message", ({ data }) => listener(data as TabMessage));
  }

  post(message: TabMessage): void {
    if (!this.#isClosed) this.#channel.postMessage(message);
  }

  close(): void {
    this.#isClosed = true;
    this.#channel.close();
  }
}
