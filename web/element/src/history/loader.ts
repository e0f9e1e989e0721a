import { type Api, ApiError } from "../server/api.js";
import type { Page, Thread } from "../server/protocol.js";
import { type FailureListeners, reportFailure } from "../ui/report_failure.js";
import { untilReached } from "../ui/until_reached.js";
import { ThreadList } from "./thread_list.js";

export const PAGE_THREADS = 30;
/** The size of the pages in which a search goes through the list. */
const SEARCH_THREADS = 100;
/** The number of pages that a search loads at a time. The person may ask for more. */
export const MAX_SEARCH_PAGES = 20;

/** The answers to a cursor that its server does not know, or not any more. */
const CURSOR_STATUSES = new Set([400, 404, 422]);

export interface ThreadLoaderHost extends FailureListeners {
  readonly api: Api;
  /** The list has changed. */
  readonly changed: () => void;
  /** Aborts when the chat ends. */
  readonly signal: AbortSignal;
}

/** Loads the list of threads, and changes threads in it and on the server. */
export class ThreadLoader {
  readonly list = new ThreadList();
  /** Whether the first page could not be loaded so far, because the server was not reached. */
  isUnreached = false;
  #loading: Promise<void> = Promise.resolve();
  #next: Promise<void> | null = null;
  #older: Promise<boolean> | null = null;

  constructor(private readonly host: ThreadLoaderHost) {}

  get isLoadingOlder(): boolean {
    return this.#older !== null;
  }

  /** Loads the newest threads. Calls while a load waits to begin are one load; those during a load are one after it. */
  refresh(): Promise<void> {
    const load = () => {
      this.#next = null;
      this.#loading = this.#loadNewest();
      return this.#loading;
    };
    // The failure of the load before was thrown to those who asked for it.
    this.#next ??= this.#loading.then(load, load);
    return this.#next;
  }

  async #loadNewest(): Promise<void> {
    const { signal } = this.host;
    const load = async () => {
      const ticket = this.list.ticket();
      const page = await this.#page(null, PAGE_THREADS);
      if (signal.aborted) return;
      this.isUnreached = false;
      this.list.loadNewest(page, ticket);
      this.host.changed();
    };
    // The first list is asked for until it is there. A later one is shown as it was.
    const work = this.list.isLoaded ? load() : untilReached(signal, load, (error) => this.#unreached(error));
    await reportFailure(work.catch(unlessAborted(signal)), this.host);
  }

  #unreached(error: ApiError): void {
    this.isUnreached = true;
    this.host.failed(error);
    this.host.changed();
  }

  /** Loads the next page of older threads, a larger one for a search. Returns whether it was loaded. */
  loadOlder(isSearch = false): Promise<boolean> {
    const size = isSearch ? SEARCH_THREADS : PAGE_THREADS;
    this.#older ??= this.#loadOlder(size).finally(() => {
      this.#older = null;
      this.host.changed();
    });
    return this.#older;
  }

  /** Loads older threads until there are enough for a search; `MAX_SEARCH_PAGES` at most. */
  async searchOlder(isEnough: () => boolean): Promise<void> {
    for (let pages = 0; pages < MAX_SEARCH_PAGES; pages += 1) {
      if (this.list.after === null || isEnough() || !(await this.loadOlder(true))) return;
    }
  }

  async #loadOlder(size: number): Promise<boolean> {
    const { after } = this.list;
    if (after === null) return false;
    let isLoaded = false;
    const load = async () => {
      const ticket = this.list.ticket();
      this.list.loadOlder(await this.#page(after, size), after, ticket);
      isLoaded = true;
    };
    await reportFailure(
      load().catch((error) => this.#restart(error)),
      this.host,
    );
    return isLoaded;
  }

  /** Begins the list anew where its cursor is gone, because another page has deleted that thread. */
  async #restart(error: unknown): Promise<void> {
    if (!(error instanceof ApiError) || !CURSOR_STATUSES.has(error.status)) throw error;
    this.list.clear();
    await this.refresh();
  }

  /** A server of ours lists the threads by their last use. Another one does not know `order_by`, and ignores it. */
  #page(after: string | null, limit: number): Promise<Page<Thread>> {
    const params = { limit, order: "desc", order_by: "activity", after };
    return this.host.api.call<Page<Thread>>("threads.list", params);
  }

  /** Throws ApiError. */
  async rename(threadId: string, title: string): Promise<Thread> {
    const thread = await this.host.api.call<Thread>("threads.update", { thread_id: threadId, title });
    this.list.put(thread);
    return thread;
  }

  /** Throws ApiError. */
  async delete(threadId: string): Promise<void> {
    await this.host.api.call("threads.delete", { thread_id: threadId });
    this.list.remove(threadId);
  }

  /** A message was sent to the thread. */
  used(threadId: string): void {
    this.list.used(threadId, new Date());
    this.host.changed();
  }

  /** Takes a thread that a run of this page has created or changed. */
  put(thread: Thread): void {
    this.list.put(thread);
    this.host.changed();
  }

  /** Forgets a thread that was deleted elsewhere. */
  remove(threadId: string): void {
    this.list.remove(threadId);
    this.host.changed();
  }
}

/** Swallows the failure of a load that the end of the chat has made pointless. */
function unlessAborted(signal: AbortSignal): (error: unknown) => void {
  return (error) => {
    if (!signal.aborted) throw error;
  };
}
