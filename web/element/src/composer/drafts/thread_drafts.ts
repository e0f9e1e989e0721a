import type { DraftStore } from "./draft_store.js";
import { joined, NO_WORDS, type Words } from "./words.js";

/** What is to stand in the message box of a thread that was opened. */
export interface Opened {
  /** Whether the words come before those in the box, and not in their place. */
  readonly isBefore: boolean;
  readonly words: Words;
}

/** A message that was sent and that the server has neither accepted nor refused so far. */
interface Sending {
  threadId: string | null;
  readonly words: Words;
}

/** What is to be done with a message that the server has accepted or refused. */
export interface Settled {
  readonly isBack: boolean;
  /** The thread that the message belongs to by now. */
  readonly threadId: string | null;
}

/** The drafts of a chat, and the user who is named in the draft of a new thread. */
export interface DraftsHost {
  readonly kept: DraftStore;
  /** The store whose drafts end with the page. */
  readonly inMemory: DraftStore;
  /** The signed-in user, as the site names them; null where it does not. */
  readonly user: string | null;
}

/**
 * The words in the message box, by thread. A thread's draft is stored whenever it changes and read once, when the
 * thread is opened, so that no other tab changes the words in the box. It is shown once the server has given the thread
 * out: the id alone may be one that the user before has left in the page.
 *
 * A message is part of the draft until the server has accepted it, so that a reload in between loses nothing.
 */
export class ThreadDrafts {
  /** The thread whose words are in the box; null for a new one, undefined before the first is opened. */
  #threadId: string | null | undefined = undefined;
  #isLoaded = false;
  /** The draft of the open thread while it is being loaded, which the box does not show so far. */
  #hidden = NO_WORDS;
  #box = NO_WORDS;
  readonly #sending = new Set<Sending>();
  /** The words beside the messages that are being sent, of threads that were left meanwhile. */
  readonly #left = new Map<string | null, Words>();

  constructor(private readonly host: DraftsHost) {}

  get threadId(): string | null | undefined {
    return this.#threadId;
  }

  /**
   * Opens a thread, or a new one for null. Returns what changes in the box; null where nothing does. The words of a new
   * thread go on in the thread that its message creates, and those for a thread that could not be loaded in a new one.
   */
  open(threadId: string | null, isLoaded: boolean): Opened | null {
    const before = this.#threadId;
    if (threadId === before) {
      if (this.#isLoaded || !isLoaded) return null;
      const words = this.#hidden;
      this.#isLoaded = true;
      this.#hidden = NO_WORDS;
      return { isBefore: true, words };
    }
    const box = this.#box;
    if (before === null && isLoaded) {
      this.#rename(threadId);
      return null;
    }
    const isFailed = before !== undefined && !this.#isLoaded && threadId === null;
    if (isFailed) {
      this.#moveSending(before, null);
      this.#write(before, this.#hidden);
    } else {
      this.#leave();
    }
    const found = this.#find(threadId);
    this.#threadId = threadId;
    this.#isLoaded = isLoaded;
    this.#hidden = isLoaded ? NO_WORDS : found;
    this.#box = isFailed ? box : NO_WORDS;
    if (isFailed) this.#write(null, joined([...this.#sent(null), found, box]));
    return { isBefore: isFailed, words: isLoaded ? found : NO_WORDS };
  }

  /** Stores the words in the box as the open thread's draft. */
  save(words: Words): void {
    if (JSON.stringify(words) === JSON.stringify(this.#box)) return;
    this.#box = words;
    this.#store();
  }

  /**
   * Notes that the words are being sent from the box. The result is called with the server's answer, and returns
   * whether a refused message has to go back into the box. The words of one to another thread wait in its draft.
   */
  send(words: Words): (isAccepted: boolean) => Settled {
    const sending: Sending = { threadId: this.#threadId ?? null, words };
    this.#sending.add(sending);
    return (isAccepted) => {
      this.#sending.delete(sending);
      const { threadId } = sending;
      const isOpen = threadId === this.#threadId;
      const isBack = isOpen && !isAccepted;
      if (!isOpen) this.#settle(threadId, isAccepted ? NO_WORDS : words);
      else if (isAccepted) this.#store();
      return { isBack, threadId };
    };
  }

  /** Drops the draft of a thread that was deleted. */
  forget(threadId: string): void {
    this.#left.delete(threadId);
    if (threadId !== this.#threadId) this.#write(threadId, NO_WORDS);
  }

  /** A new thread has got its id. */
  #rename(threadId: string | null): void {
    this.#write(null, NO_WORDS);
    this.#moveSending(null, threadId);
    this.#threadId = threadId;
    this.#store();
  }

  #moveSending(from: string | null, to: string | null): void {
    for (const sending of this.#sending) if (sending.threadId === from) sending.threadId = to;
  }

  #leave(): void {
    if (this.#threadId === undefined || this.#sent(this.#threadId).length === 0) return;
    this.#left.set(this.#threadId, joined([this.#hidden, this.#box]));
  }

  #find(threadId: string | null): Words {
    const left = this.#left.get(threadId);
    this.#left.delete(threadId);
    return left ?? this.#storeOf(threadId).read(placeOf(threadId, this.host.user)) ?? NO_WORDS;
  }

  /** Stores what remains of a thread that was left, once a message of it is accepted or refused. */
  #settle(threadId: string | null, refused: Words): void {
    const rest = joined([refused, this.#left.get(threadId) ?? NO_WORDS]);
    const sent = this.#sent(threadId);
    if (sent.length > 0) this.#left.set(threadId, rest);
    else this.#left.delete(threadId);
    this.#write(threadId, joined([...sent, rest]));
  }

  #sent(threadId: string | null): Words[] {
    return [...this.#sending].filter((sending) => sending.threadId === threadId).map(({ words }) => words);
  }

  #store(): void {
    if (this.#threadId === undefined) return;
    this.#write(this.#threadId, joined([...this.#sent(this.#threadId), this.#hidden, this.#box]));
  }

  #write(threadId: string | null, words: Words): void {
    this.#storeOf(threadId).write(placeOf(threadId, this.host.user), words);
  }

  #storeOf(threadId: string | null): DraftStore {
    return threadId === null && this.host.user === null ? this.host.inMemory : this.host.kept;
  }
}

/** The place of a draft in the store. A new thread has no id that only its user could know: its place names them. */
function placeOf(threadId: string | null, user: string | null): string {
  return threadId === null ? `new ${user ?? ""}` : `thread ${threadId}`;
}
