import type {
  Feedback,
  LocalItem,
  Page,
  Shown,
  StreamEvent,
  Thread,
  ThreadItem,
  ThreadStatus,
  UserMessage,
} from "../server/protocol.js";
import { fingerprint, isBehind, isItem, isLocal, isMessage, isShown, isUnstored } from "./item_kinds.js";
import { updateItem } from "./item_updates.js";

const ACTIVE: ThreadStatus = { type: "active" };

/**
 * The state of one thread as the page knows it. It is pure: events go in, items come out.
 *
 * A replay of a run from its start ends in the same state, because events are applied to items by id: `added`, `done`
 * and `replaced` set an item whole, and updates build upon the `added` before them.
 */
export class ThreadState {
  id: string | null = null;
  title: string | null = null;
  createdAt: string | null = null;
  status: ThreadStatus = ACTIVE;
  imageDomains: readonly string[] = [];
  /** The items by id, in the order of the conversation. */
  items = new Map<string, Shown>();
  /** The ids of the items that are still being written. */
  readonly open = new Set<string>();
  hasEarlier = false;
  /** The cursor of `items.list` that continues with earlier items. */
  earlierAfter: string | null = null;
  /** The person's feedback by item id. */
  readonly feedback = new Map<string, Feedback>();
  /** The waiting runs that this page does not follow, by the id of their message. */
  readonly waiting = new Map<string, string>();
  #changes = 0;
  /** The number of the last change of each item that an event has changed. */
  readonly #changedAt = new Map<string, number>();

  setThread(thread: Thread): void {
    this.id = thread.id;
    this.title = textOf(thread.title);
    this.createdAt = textOf(thread.created_at);
    this.status = thread.status ? { ...thread.status, reason: textOf(thread.status.reason) } : ACTIVE;
    this.imageDomains = (thread.allowed_image_domains ?? []).filter((domain) => typeof domain === "string");
  }

  /** A point in time: later changes are newer than the answer to a request that begins now. */
  get mark(): number {
    return this.#changes;
  }

  /**
   * Replaces the items by the newest page of `items.list` in descending order. Kept are the items earlier than the
   * page, those still being written, those that only this page has, and those that have changed since `mark`, when the
   * request began.
   */
  loadNewest(newestPage: Page<ThreadItem>, mark: number = this.mark): void {
    const page = { ...newestPage, data: newestPage.data.filter(isItem) };
    const known = [...this.items.values()];
    const isNewer = (id: string) => (this.#changedAt.get(id) ?? 0) > mark;
    const isKept = (item: Shown) => isUnstored(item) || this.open.has(item.id) || isNewer(item.id);
    const oldest = page.data.at(-1)?.id;
    // A page without an item, because the server hides all of its items, says nothing of the known ones.
    const overlap = () => (oldest === undefined ? known.length : known.findIndex(({ id }) => id === oldest));
    const from = page.has_more === true ? overlap() : -1;
    const shown: Shown[] = from > 0 ? known.slice(0, from) : [];
    const newest = [...page.data].reverse();
    shown.push(...newest.flatMap((item) => (isNewer(item.id) ? (this.items.get(item.id) ?? []) : item)));
    const ids = new Set(shown.map(({ id }) => id));
    // Each kept item stands behind the item that it stood behind before.
    let before: string | null = null;
    for (const item of known) {
      if (!ids.has(item.id) && isKept(item)) {
        const at = shown.findIndex(({ id }) => id === before);
        shown.splice(at < 0 ? shown.length : at + 1, 0, item);
        ids.add(item.id);
      }
      if (ids.has(item.id)) before = item.id;
    }
    this.items = new Map(shown.map((item) => [item.id, item]));
    if (from <= 0) this.#setEarlier(page);
  }

  /** Puts a further page of `items.list` in descending order before all known items. */
  loadEarlier(page: Page<ThreadItem>): void {
    const earlier = new Map<string, Shown>(
      page.data
        .filter(isItem)
        .reverse()
        .map((item) => [item.id, item]),
    );
    for (const [id, item] of this.items) earlier.set(id, item);
    this.items = earlier;
    this.#setEarlier(page);
  }

  #setEarlier(page: Page<ThreadItem>): void {
    this.hasEarlier = page.has_more === true;
    this.earlierAfter = page.after ?? null;
  }

  /** The id of the first item behind this one that the server has; null where there is none. */
  storedAfter(id: string): string | null {
    const known = [...this.items.values()];
    const at = known.findIndex((item) => item.id === id);
    return known.slice(at + 1).find((item) => !isUnstored(item) && !this.open.has(item.id))?.id ?? null;
  }

  /** Puts an item that only this page knows at the end. */
  put(item: LocalItem | UserMessage): void {
    this.items.set(item.id, item);
  }

  /** Puts an item that only this page knows behind another one; behind what is answered where that is not there. */
  putAfter(id: string | null, item: LocalItem): void {
    const ids = [...this.items.keys()];
    const at = id === null ? -1 : ids.indexOf(id);
    this.#place(item, at < 0 ? this.#firstWaiting : (ids[at + 1] ?? null));
  }

  /** The id of the first message that waits for its turn; null where none does. */
  get #firstWaiting(): string | null {
    const items = [...this.items.values()];
    const lastAnswered = items.findLastIndex((other) => !(other.type === "user_message" && isBehind(other)));
    return items[lastAnswered + 1]?.id ?? null;
  }

  /** Puts an item before another one; at the end for null. A known item keeps its place. */
  #place(item: Shown, before: string | null): void {
    if (before === null || this.items.has(item.id)) {
      this.items.set(item.id, item);
      return;
    }
    const entries = [...this.items];
    entries.splice(
      entries.findIndex(([id]) => id === before),
      0,
      [item.id, item],
    );
    this.items = new Map(entries);
  }

  /** Puts a new item at the end of what is answered, before the messages that wait for their turn. */
  #append(item: Shown): void {
    this.#place(item, item.type === "user_message" ? null : this.#firstWaiting);
  }

  /** Notes in the messages which of them wait. @param runs the waiting runs by the id of their message */
  markWaiting(runs: ReadonlyMap<string, string>): void {
    for (const item of this.items.values()) {
      if (item.type !== "user_message" || item.waiting === runs.get(item.id)) continue;
      const { waiting: _, ...message } = item;
      const runId = runs.get(item.id);
      this.items.set(item.id, runId === undefined ? message : { ...message, waiting: runId });
    }
  }

  setFeedback(id: string, kind: Feedback): void {
    if (this.feedback.get(id) === kind) return;
    this.feedback.set(id, kind);
    const item = this.items.get(id);
    // A new object has its view drawn.
    if (item !== undefined) this.items.set(id, { ...item });
  }

  /** Removes the local items of the types. */
  dropLocal(...types: LocalItem["type"][]): void {
    for (const item of [...this.items.values()]) if (types.some((type) => type === item.type)) this.remove(item.id);
  }

  /** Notes that the newest message has no answer, where no other note says why. */
  noteUnanswered(): void {
    this.dropLocal("unanswered");
    const { last } = this;
    if (last?.type !== "user_message" || this.isNoted(last.id)) return;
    this.put({ id: `unanswered:${last.id}`, type: "unanswered" });
  }

  /** Whether a note of this page, other than that a run was stopped, stands behind the item. */
  isNoted(id: string): boolean {
    const items = [...this.items.values()];
    const at = items.findIndex((item) => item.id === id);
    return items.slice(at + 1).some((item) => isLocal(item) && item.type !== "stopped");
  }

  remove(id: string): boolean {
    this.open.delete(id);
    return this.items.delete(id);
  }

  /** Applies an event about an item; other events are ignored. */
  apply(event: StreamEvent): void {
    const id = (event.item as ThreadItem | undefined)?.id ?? event.item_id;
    if (id !== undefined) this.#changedAt.set(String(id), ++this.#changes);
    switch (event.type) {
      case "thread.item.added": {
        const item = event.item as ThreadItem;
        this.#append(item);
        this.open.add(item.id);
        break;
      }
      case "thread.item.done":
      case "thread.item.replaced": {
        const item = event.item as ThreadItem;
        this.#append(item);
        this.open.delete(item.id);
        break;
      }
      case "thread.item.removed":
        this.remove(String(event.item_id));
        break;
      case "thread.item.updated": {
        const item = this.items.get(String(event.item_id));
        if (item !== undefined && !isLocal(item))
          this.items.set(item.id, updateItem(item, event.update as StreamEvent));
        break;
      }
    }
  }

  /** Whether the items of the newest page equal the known ones. */
  equals({ data, has_more: hasMore }: Page<ThreadItem>): boolean {
    const newest = data.filter(isItem);
    const known = [...this.items.values()].filter((item) => !isUnstored(item)).reverse();
    const isSame = (item: ThreadItem, index: number) => fingerprint(item) === fingerprint(known[index]);
    return newest.every(isSame) && (known.length === newest.length || hasMore === true);
  }

  /** The newest item that the server has, apart from the marks at the ends of turns. */
  get last(): ThreadItem | undefined {
    return this.#newest((item) => item.type !== "end_of_turn");
  }

  /** The newest item apart from the messages that wait behind it. */
  get lastAnswered(): Shown | undefined {
    return [...this.items.values()].findLast((item) => !(item.type === "user_message" && isBehind(item)));
  }

  /** The number of the items that the person can see. */
  get seenCount(): number {
    return [...this.items.values()].filter(isShown).length;
  }

  get lastUserMessage(): UserMessage | undefined {
    return this.#newest((item) => item.type === "user_message") as UserMessage | undefined;
  }

  /** The user's message that an item answers. */
  messageBefore(id: string): UserMessage | undefined {
    let message: UserMessage | undefined;
    for (const item of this.items.values()) {
      if (item.id === id) return message;
      if (item.type === "user_message" && !item.pending) message = item;
    }
    return undefined;
  }

  /** The number of messages, own ones and answers, behind a user's message and its answer. */
  laterThan(messageId: string): number {
    const known = [...this.items.values()];
    const at = known.findIndex(({ id }) => id === messageId);
    const next = known.findIndex(({ type }, place) => at >= 0 && place > at && type === "user_message");
    return next < 0 ? 0 : known.slice(next).filter(isMessage).length;
  }

  #newest(matches: (item: ThreadItem) => boolean): ThreadItem | undefined {
    const known = [...this.items.values()].filter((item): item is ThreadItem => !isUnstored(item));
    return known.findLast(matches);
  }

  /** Removes the items after one, as `threads.retry_after_item` does on the server. */
  dropAfter(id: string): void {
    let isFound = false;
    for (const key of [...this.items.keys()]) {
      if (isFound) this.remove(key);
      if (key === id) isFound = true;
    }
  }
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
