import type { Conversation } from "../conversation.js";
import type { History } from "../history/history.js";
import type { Thread } from "../server/protocol.js";
import type { ConversationEvents } from "../thread/events.js";
import type { TabMessage, Tabs } from "./tabs.js";

/** The parts of the chat that threads are known to, and its actions. */
export interface ThreadNewsHost {
  readonly conversation: Conversation;
  readonly history: History;
  readonly tabs: Tabs;
  /** The open thread, or the one that is being loaded. */
  readonly threadId: () => string | null;
  readonly leaveThread: () => void;
  /** Drops what was written in a thread that is gone. */
  readonly forgetDraft: (threadId: string) => void;
  readonly threadChanged: () => void;
  readonly reportFailure: (work: Promise<unknown>) => Promise<void>;
}

type Told = Pick<ConversationEvents, "threadsChanged" | "runBegan" | "leftRunning">;

/** Tells the list of threads and the other tabs what happens to threads, and hears it from the other tabs. */
export class ThreadNews implements Told {
  constructor(private readonly host: ThreadNewsHost) {}

  /** Marks the open thread in the list as running or not. */
  mark(): void {
    const { state, opening, isResponding } = this.host.conversation;
    if (state.id !== null && opening === null) this.host.history.mark(state.id, isResponding);
  }

  threadsChanged(thread: Thread | null): void {
    const { history, tabs } = this.host;
    if (thread === null) void history.refresh();
    else history.put(thread);
    tabs.post({ type: "threads" });
  }

  runBegan(threadId: string, runId: string | null): void {
    this.host.history.used(threadId);
    this.host.tabs.post({ type: "run", threadId, runId });
  }

  leftRunning(threadId: string): void {
    this.host.history.watch(threadId);
  }

  /** The person has given the thread another title. */
  renamed(thread: Thread): void {
    const { conversation, tabs, threadChanged } = this.host;
    tabs.post({ type: "threads" });
    if (thread.id !== conversation.state.id) return;
    conversation.state.setThread(thread);
    threadChanged();
  }

  /** The person has deleted the thread. */
  deleted(threadId: string): void {
    const { tabs, leaveThread } = this.host;
    tabs.post({ type: "deleted", threadId });
    if (threadId === this.host.threadId()) leaveThread();
    this.#forget(threadId);
  }

  /** A thread that is left while it answers is watched, so that this comes after leaving it. */
  #forget(threadId: string): void {
    this.host.history.remove(threadId);
    this.host.forgetDraft(threadId);
  }

  onTabMessage(message: TabMessage): void {
    const { conversation, history, leaveThread, reportFailure } = this.host;
    const isOpen = "threadId" in message && message.threadId === this.host.threadId();
    switch (message.type) {
      case "threads":
        void history.refresh();
        break;
      case "run":
        history.used(message.threadId);
        if (isOpen) void reportFailure(conversation.refresh());
        // A run without an id is one of a server that knows no runs, and cannot be asked for.
        else if (message.runId !== null) void this.#watchListed(message.threadId);
        break;
      case "deleted":
        if (isOpen) leaveThread();
        this.#forget(message.threadId);
        break;
    }
  }

  /** Watches a thread that is in the list, because in the other tab another user may be signed in. */
  async #watchListed(threadId: string): Promise<void> {
    const { history } = this.host;
    if (history.nameOf(threadId) === null) await history.refresh();
    if (history.nameOf(threadId) !== null && threadId !== this.host.threadId()) history.watch(threadId);
  }
}
