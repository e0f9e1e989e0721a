import { isFields } from "../server/fields.js";
import type { Page, Thread } from "../server/protocol.js";

/**
 * The threads that the page knows, newest first. It is pure: pages and changes go in, threads come out.
 *
 * Each request for a page begins with a ticket. What has changed since then is newer than the page, and a page whose
 * ticket is older than that of one shown already is left aside.
 */
export class ThreadList {
  #threads: readonly Thread[] = [];
  #after: string | null = null;
  #changes = 0;
  #newestTicket = 0;
  /** The number of the last change that this page has made to a thread, a deletion too. */
  readonly #changedAt = new Map<string, number>();

  get threads(): readonly Thread[] {
    return this.#threads;
  }

  /** The cursor of `threads.list` that continues with older threads; null where there are none. */
  get after(): string | null {
    return this.#after;
  }

  /** Whether a page has been loaded, so that an empty list means that there are no threads. */
  get isLoaded(): boolean {
    return this.#newestTicket > 0;
  }

  find(id: string): Thread | undefined {
    return this.#threads.find((thread) => thread.id === id);
  }

  /** The ticket of a request that begins now. */
  ticket(): number {
    this.#changes += 1;
    return this.#changes;
  }

  /** Takes the newest page. Threads that were loaded page by page behind it stay. */
  loadNewest(page: Page<Thread>, ticket: number): void {
    if (ticket <= this.#newestTicket) return;
    this.#newestTicket = ticket;
    const loaded = this.#read(page, ticket);
    const ids = new Set(loaded.map(({ id }) => id));
    const ownNewer = this.#threads.filter(({ id }) => !ids.has(id) && this.#isNewer(id, ticket));
    const older = this.#behind(page).filter(({ id }) => !ids.has(id) && !this.#isNewer(id, ticket));
    this.#threads = [...ownNewer, ...loaded, ...older];
    if (older.length === 0) this.#after = cursorOf(page);
  }

  /**
   * The known threads behind the page's last one; none where the page ends the list, or does not reach to them. Where
   * they are ordered by their last use, the last one may have come from far behind, and its time tells.
   */
  #behind(page: Page<Thread>): readonly Thread[] {
    if (cursorOf(page) === null) return [];
    const last = page.data.at(-1);
    const at = this.#threads.findIndex(({ id }) => id === last?.id);
    const lastUse = useOf(last);
    if (at >= 0 && !Number.isNaN(lastUse)) return this.#threads.filter((thread) => useOf(thread) < lastUse);
    return at < 0 ? [] : this.#threads.slice(at + 1);
  }

  /** Takes the page behind the cursor `after`, unless the list goes on elsewhere by now. */
  loadOlder(page: Page<Thread>, after: string, ticket: number): void {
    if (after !== this.#after) return;
    const ids = new Set(this.#threads.map(({ id }) => id));
    this.#threads = [...this.#threads, ...this.#read(page, ticket).filter(({ id }) => !ids.has(id))];
    // A page that leads back to itself is the last one.
    const next = cursorOf(page);
    this.#after = next === after ? null : next;
  }

  /** Takes a thread that this page has created or changed. A new one stands first. */
  put(thread: Thread): void {
    const [clean] = readThread(thread);
    if (clean === undefined) return;
    this.#changedAt.set(clean.id, this.ticket());
    const known = this.find(clean.id);
    // An event of a run does not tell when its thread was used last.
    const isUse = known === undefined && this.#isByUse;
    const active_at = clean.active_at ?? known?.active_at ?? (isUse ? clean.created_at : undefined);
    const put = active_at === undefined ? clean : { ...clean, active_at };
    this.#threads =
      known === undefined ? [put, ...this.#threads] : this.#threads.map((each) => (each === known ? put : each));
  }

  /** Puts a thread first to which a message was sent, where the server lists threads by their last use. */
  used(id: string, at: Date): void {
    const thread = this.find(id);
    if (thread === undefined || !this.#isByUse) return;
    this.#changedAt.set(id, this.ticket());
    const rest = this.#threads.filter((other) => other !== thread);
    this.#threads = [{ ...thread, active_at: at.toISOString() }, ...rest];
  }

  get #isByUse(): boolean {
    return this.#threads.some(({ active_at: activeAt }) => typeof activeAt === "string");
  }

  remove(id: string): void {
    this.#changedAt.set(id, this.ticket());
    this.#threads = this.#threads.filter((thread) => thread.id !== id);
    // The server does not know a cursor any more whose thread is deleted.
    if (this.#after === id) this.#after = this.#threads.at(-1)?.id ?? null;
  }

  /** Forgets all threads, because the list cannot be continued. */
  clear(): void {
    this.#threads = [];
    this.#after = null;
  }

  #isNewer(id: string, ticket: number): boolean {
    return (this.#changedAt.get(id) ?? 0) > ticket;
  }

  /** The threads of a page as this page knows them by now. */
  #read(page: Page<Thread>, ticket: number): Thread[] {
    return page.data
      .flatMap(readThread)
      .flatMap((thread) => (this.#isNewer(thread.id, ticket) ? (this.find(thread.id) ?? []) : thread));
  }
}

/** The thread with a title of the right type; nothing where it is none. */
function readThread(thread: unknown): Thread[] {
  if (!isFields(thread) || typeof thread.id !== "string") return [];
  const title = typeof thread.title === "string" ? thread.title : null;
  return [{ ...(thread as unknown as Thread), title }];
}

/** The time of the last use in ms; NaN where the server does not tell it. */
function useOf(thread: Thread | undefined): number {
  return Date.parse(thread?.active_at ?? "");
}

function cursorOf(page: Page<Thread>): string | null {
  return page.has_more === true ? (page.after ?? null) : null;
}
