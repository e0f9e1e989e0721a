import type { Attachments, PendingAttachment } from "../attachments/attachments.js";
import type { Words } from "./words.js";

/** The content of the box when a message was sent. */
export interface Sent extends Words {
  readonly pending: readonly PendingAttachment[];
  readonly toolId: string | null;
}

/** The files of the messages that are being written in other threads than the open one. They end with the page. */
export class ThreadFiles {
  readonly #files = new Map<string | null, readonly PendingAttachment[]>();

  constructor(private readonly attachments: Attachments) {}

  /** Keeps the files of the open thread, which is left. */
  leave(threadId: string | null): void {
    this.#files.set(threadId, this.attachments.take());
  }

  /** Keeps files of a message that was refused after its thread was left, before those that are there. */
  giveBack(threadId: string | null, pending: readonly PendingAttachment[]): void {
    this.#files.set(threadId, [...pending, ...(this.#files.get(threadId) ?? [])]);
  }

  /** The files of a thread that is opened. */
  take(threadId: string | null): readonly PendingAttachment[] {
    const pending = this.#files.get(threadId) ?? [];
    this.#files.delete(threadId);
    return pending.filter(({ upload }) => !upload.signal.aborted);
  }

  /** Discards the files of a thread that was deleted, here and on the server. */
  discard(threadId: string | null): void {
    this.attachments.discard(this.#files.get(threadId) ?? []);
    this.#files.delete(threadId);
  }

  discardAll(): void {
    for (const threadId of [...this.#files.keys()]) this.discard(threadId);
  }
}
