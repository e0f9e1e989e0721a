import type { ThreadActivity } from "@relaykit/client";
import type { Api } from "../server/api.js";
import type { Page, Thread, ThreadItem } from "../server/protocol.js";

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

  activity(threadId: string, signal: AbortSignal): Promise<ThreadActivity> {
    return this.api.activity(threadId, signal);
  }
}
