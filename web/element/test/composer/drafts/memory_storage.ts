import type { DraftStorage } from "../../../src/composer/drafts/draft_store.js";

/** A browser's storage: with a quota in characters, and blocked where `isBlocked`. */
export class MemoryStorage implements DraftStorage {
  readonly values = new Map<string, string>();
  isBlocked = false;

  constructor(public quota = Number.POSITIVE_INFINITY) {}

  get length(): number {
    this.#check();
    return this.values.size;
  }

  key(at: number): string | null {
    this.#check();
    return [...this.values.keys()][at] ?? null;
  }

  getItem(key: string): string | null {
    this.#check();
    return this.values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#check();
    const others = [...this.values].filter(([other]) => other !== key);
    const used = others.reduce((sum, [name, text]) => sum + name.length + text.length, 0);
    if (used + key.length + value.length > this.quota) throw new DOMException("full", "QuotaExceededError");
    this.values.set(key, value);
  }

  removeItem(key: string): void {
    this.#check();
    this.values.delete(key);
  }

  #check(): void {
    if (this.isBlocked) throw new DOMException("blocked", "SecurityError");
  }
}
