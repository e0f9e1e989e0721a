import type { Conversation } from "../conversation.js";

/** The conversation that the navigation opens threads in, and the listeners. */
export interface NavigationHost {
  readonly conversation: Conversation;
  readonly emit: (type: string, detail: { readonly threadId: string | null }) => void;
  /** A thread has been loaded, or could not be. */
  readonly onLoaded: () => void;
}

/** Opens threads, and tells the page which thread is open. */
export class Navigation {
  #loading = 0;
  /** The thread whose loading began last. */
  #requested: string | null = null;
  /** The thread of which the page was told last. */
  #reported: string | null = null;

  constructor(private readonly host: NavigationHost) {}

  /** The open thread, or the one that is being loaded. */
  get threadId(): string | null {
    return this.#loading > 0 ? this.#requested : this.host.conversation.state.id;
  }

  /** Opens a thread, or a new one for null. Throws ApiError; the chat then shows an empty thread. */
  async show(threadId: string | null): Promise<void> {
    const { conversation, emit, onLoaded } = this.host;
    if (threadId === null) {
      conversation.clear();
      return;
    }
    emit("chatkit.thread.load.start", { threadId });
    this.#loading += 1;
    this.#requested = threadId;
    try {
      await conversation.open(threadId);
    } finally {
      this.#loading -= 1;
      onLoaded();
      emit("chatkit.thread.load.end", { threadId });
    }
  }

  /** Tells the page where another thread is open than before. */
  reportThread(): void {
    const { id } = this.host.conversation.state;
    // The moment without a thread between two threads is not reported as a change.
    if (id === this.#reported || (id === null && this.#loading > 0)) return;
    this.#reported = id;
    this.host.emit("chatkit.thread.change", { threadId: id });
  }
}
