import type { ThreadActivity } from "@relaykit/client";
import { type Api, ApiError } from "../server/api.js";
import type { Marks, Page, Thread, ThreadItem } from "../server/protocol.js";

const PAGE_ITEMS = 50;

/** The requests that read a thread from the server. Each of them throws ApiError. */
export class ThreadQueries {
  constructor(private readonly api: Api) {}

  thread(threadId: string | null): Promise<Thread> {
    return this.api.call("threads.get_by_id", { thread_id: threadId });
  }

  /** The newest items, newest first. */
  newestItems(threadId: string): Promise<Page<ThreadItem>> {
    return this.items(threadId, null);
  }

  /** Items from the newest on, or from the one after the cursor `after` on, newest first. */
  items(threadId: string | null, after: string | null, limit = PAGE_ITEMS): Promise<Page<ThreadItem>> {
    const params = { thread_id: threadId, limit, order: "desc", ...(after !== null && { after }) };
    return this.api.call("items.list", params);
  }

  /** Whether the server may have marks, as far as its answers have shown. */
  get hasMarks(): boolean {
    return this.api.hasMarks;
  }

  /** The marks; null where the server has none, or does not tell them now. */
  async marks(threadId: string, signal: AbortSignal): Promise<Marks | null> {
    try {
      return await this.api.marks(threadId, signal);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return null;
    }
  }

  /** Takes back the message of a run that waits. Returns false where it waits no more. Throws ApiError. */
  withdraw(runId: string): Promise<boolean> {
    return this.api.withdrawRun(runId);
  }

  activity(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    return this.api.activity(threadId, signal);
  }
}
