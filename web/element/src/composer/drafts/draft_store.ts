import { isFields } from "../../server/fields.js";
import { isEmpty, NO_WORDS, type Words, wordsOf } from "./words.js";

const PREFIX = "relaykit.draft.";
/** Of more drafts than these, of all chats of the origin together, the oldest are dropped. */
export const MAX_DRAFTS = 20;
/** The size of a stored draft as JSON. All drafts together have two fifths of what a browser gives an origin. */
export const MAX_DRAFT_CHARACTERS = 100_000;
export const MAX_DRAFT_AGE_MS = 24 * 60 * 60 * 1_000;

/** The part of the browser's Storage that drafts need. */
export type DraftStorage = Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">;

/** The browser's storage, which outlives the tab; null where the page may not use it. */
export function browserStorage(): DraftStorage | null {
  try {
    // In some web views there is no storage, in spite of its type.
    return window.localStorage ?? null;
  } catch {
    // The browser blocks storage for this page (SecurityError). Drafts then end with the page.
    return null;
  }
}

/**
 * The drafts of one chat, by their places, bounded in number, size and age. What the storage does not take is kept in
 * memory, so that a storage that is full, blocked or absent costs only what outlives the page.
 */
export class DraftStore {
  /** The drafts that the storage did not take, by key, and no words where it did not drop one. */
  readonly #inMemory = new Map<string, Words>();

  /** @param chat the part of the keys that tells this chat's drafts from those of others */
  constructor(
    private readonly storage: DraftStorage | null,
    private readonly chat: string,
    private readonly now: () => number = Date.now,
  ) {
    this.#dropOld(MAX_DRAFTS);
  }

  /** The draft of a place; null where there is none. */
  read(place: string): Words | null {
    const key = this.#key(place);
    const words = this.#inMemory.get(key) ?? this.#stored(key)?.words ?? NO_WORDS;
    return isEmpty(words) ? null : words;
  }

  /** Replaces the draft of a place. Without words the place has none. */
  write(place: string, words: Words): void {
    const key = this.#key(place);
    this.#inMemory.delete(key);
    if (!isEmpty(words) && this.#store(key, words)) return;
    // An earlier draft does not stay in place of one that the storage did not take, nor of none.
    const isRemoved = this.#remove(key);
    if (isEmpty(words) && isRemoved) return;
    this.#inMemory.set(key, words);
    const oldest = this.#inMemory.keys().next().value;
    if (this.#inMemory.size > MAX_DRAFTS && oldest !== undefined) this.#inMemory.delete(oldest);
  }

  /** Drops every draft of the chat. */
  clear(): void {
    this.#inMemory.clear();
    for (const key of this.#keys()) if (key.startsWith(this.#key(""))) this.#remove(key);
  }

  #key(place: string): string {
    return `${PREFIX}${this.chat} ${place}`;
  }

  #store(key: string, words: Words): boolean {
    if (this.storage === null) return false;
    const text = JSON.stringify({ ...words, at: this.now() });
    if (text.length > MAX_DRAFT_CHARACTERS) return false;
    try {
      if (this.storage.getItem(key) === null) this.#dropOld(MAX_DRAFTS - 1);
      this.storage.setItem(key, text);
      return true;
    } catch {
      // The storage is full or blocked. The draft is kept in memory instead.
      return false;
    }
  }

  /** The draft under a key, unless it is too old or not a draft. */
  #stored(key: string): { readonly words: Words; readonly at: number } | null {
    try {
      const value: unknown = JSON.parse(this.storage?.getItem(key) ?? "null");
      const words = wordsOf(value);
      if (words === null || !isFields(value) || typeof value.at !== "number") return null;
      // A clock that was set back makes a draft neither younger nor immortal.
      return Math.abs(this.now() - value.at) < MAX_DRAFT_AGE_MS ? { words, at: value.at } : null;
    } catch {
      // The storage is blocked, or its value is not JSON.
      return null;
    }
  }

  /** Drops what is too old or not a draft, and of more than `count` drafts the oldest. */
  #dropOld(count: number): void {
    const found = this.#keys().map((key) => ({ key, at: this.#stored(key)?.at ?? null }));
    const kept = found.flatMap(({ key, at }) => (at === null ? [] : { key, at })).sort((one, two) => two.at - one.at);
    const keys = new Set(kept.slice(0, count).map(({ key }) => key));
    for (const { key } of found) if (!keys.has(key)) this.#remove(key);
  }

  #keys(): string[] {
    try {
      const { storage } = this;
      if (storage === null) return [];
      const keys = Array.from({ length: storage.length }, (_, at) => storage.key(at));
      return keys.filter((key): key is string => key?.startsWith(PREFIX) ?? false);
    } catch {
      // The storage is blocked.
      return [];
    }
  }

  #remove(key: string): boolean {
    try {
      this.storage?.removeItem(key);
      return true;
    } catch {
      // The storage is blocked.
      return false;
    }
  }
}
