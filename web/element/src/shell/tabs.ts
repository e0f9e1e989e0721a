/** What a tab tells the others. Ids only: whoever may not see a thread is refused by the server. */
export type TabMessage =
  | { readonly type: "run"; readonly threadId: string; readonly runId: string | null }
  | { readonly type: "threads" }
  | { readonly type: "deleted"; readonly threadId: string };

/** Tells the other tabs that show the same chat what happened here. */
export class Tabs {
  readonly #channel: BroadcastChannel;
  #isClosed = false;

  /** @param url of the ChatKit endpoint: tabs of other chats hear nothing */
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
