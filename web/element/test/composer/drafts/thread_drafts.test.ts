import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DraftStore } from "../../../src/composer/drafts/draft_store.js";
import { type Settled, ThreadDrafts } from "../../../src/composer/drafts/thread_drafts.js";
import { joined, NO_WORDS, type Words } from "../../../src/composer/drafts/words.js";
import { MemoryStorage } from "./memory_storage.js";

const CHAT = "https://shop.test/chatkit";
const words = (text: string): Words => ({ content: [{ type: "input_text", text }], quotedText: null });
const textOf = ({ content }: Words): string => content.map(({ text }) => text).join("");
const tokensIn = (text: string): string[] => text.split(/\s+/).filter((token) => token !== "");

/** A tab with a message box, as the composer treats it. */
class Tab {
  box = NO_WORDS;
  readonly sending: { readonly words: Words; readonly settle: (isAccepted: boolean) => Settled }[] = [];
  readonly #drafts: ThreadDrafts;

  constructor(storage: MemoryStorage | null, user: string | null = "ann") {
    const kept = new DraftStore(storage, CHAT);
    this.#drafts = new ThreadDrafts({ kept, inMemory: new DraftStore(null, CHAT), user });
  }

  get threadId(): string | null | undefined {
    return this.#drafts.threadId;
  }

  open(threadId: string | null, isLoaded = true): void {
    const opened = this.#drafts.open(threadId, isLoaded);
    if (opened !== null) this.put(opened.isBefore ? joined([opened.words, this.box]) : opened.words);
  }

  /** Opens a thread as the chat does: it is loaded first. */
  load(threadId: string): void {
    this.open(threadId, false);
    this.open(threadId);
  }

  put(box: Words): void {
    this.box = box;
    this.#drafts.save(box);
  }

  type(text: string): void {
    this.put(words(`${textOf(this.box)} ${text}`.trim()));
  }

  send(): void {
    this.sending.push({ words: this.box, settle: this.#drafts.send(this.box) });
    this.put(NO_WORDS);
  }

  answer(isAccepted: boolean): Words | null {
    const first = this.sending.shift();
    if (first === undefined) return null;
    if (first.settle(isAccepted).isBack) this.put(joined([first.words, this.box]));
    return first.words;
  }

  forget(threadId: string): void {
    this.#drafts.forget(threadId);
  }

  get text(): string {
    return textOf(this.box);
  }
}

const step = fc.oneof(
  fc.record({ do: fc.constant("load" as const), threadId: fc.constantFrom("1", "2"), isLoaded: fc.boolean() }),
  ...(["new", "loaded", "type", "send", "accept", "refuse", "create", "empty", "reload"] as const).map((name) =>
    fc.record({ do: fc.constant(name) }),
  ),
);

describe("the drafts of threads", () => {
  it("have each word that was not sent once, and none that was accepted or removed", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const storage = new MemoryStorage();
        let tab = new Tab(storage);
        tab.open(null);
        let count = 0;
        const unsent = new Set<string>();
        for (const each of steps) {
          if (each.do === "load") {
            if (each.threadId !== tab.threadId) tab.open(each.threadId, false);
            if (each.isLoaded) tab.open(each.threadId);
          } else if (each.do === "new") {
            tab.open(null);
          } else if (each.do === "loaded" && tab.threadId != null) {
            tab.open(tab.threadId);
          } else if (each.do === "type") {
            count += 1;
            unsent.add(`w${count}`);
            tab.type(`w${count}`);
          } else if (each.do === "send" && tab.text !== "") tab.send();
          else if (each.do === "accept" || each.do === "refuse") {
            const sent = tab.answer(each.do === "accept");
            if (each.do === "accept" && sent) for (const token of tokensIn(textOf(sent))) unsent.delete(token);
          } else if (each.do === "create" && tab.threadId === null) {
            count += 1;
            tab.open(`created ${count}`);
          } else if (each.do === "empty") {
            for (const token of tokensIn(tab.text)) unsent.delete(token);
            tab.put(NO_WORDS);
          } else if (each.do === "reload") {
            tab = new Tab(storage);
            tab.open(null);
          }
          const stored = [...storage.values.values()].flatMap((value) => tokensIn(textOf(JSON.parse(value) as Words)));
          expect(stored.toSorted()).toEqual([...unsent].toSorted());
          for (const token of tokensIn(tab.text)) expect(unsent).toContain(token);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("are there after a reload, each in its thread", () => {
    const storage = new MemoryStorage();
    const tab = new Tab(storage);
    tab.open(null);
    tab.type("new");
    tab.load("1");
    expect(tab.text).toBe("");
    tab.type("one");
    const again = new Tab(storage);
    again.open(null);
    expect(again.text).toBe("new");
    again.load("1");
    expect(again.text).toBe("one");
    again.load("2");
    expect(again.text).toBe("");
  });

  it("are shown once the thread is loaded, before what was typed meanwhile", () => {
    const storage = new MemoryStorage();
    const tab = new Tab(storage);
    tab.load("1");
    tab.type("before");
    const again = new Tab(storage);
    again.open("1", false);
    expect(again.text).toBe("");
    again.type("meanwhile");
    again.open("1");
    expect(again.text).toBe("before\n\nmeanwhile");
  });

  it("of a thread that is refused are not shown, and what was typed for it stays in the box", () => {
    const storage = new MemoryStorage();
    const ann = new Tab(storage);
    ann.load("1");
    ann.type("secret");
    const ben = new Tab(storage, "ben");
    ben.open("1", false);
    ben.type("mine");
    ben.open(null);
    expect(ben.text).toBe("mine");
    expect([...storage.values.entries()].filter(([key]) => key.endsWith("new ben"))[0]?.[1]).not.toContain("secret");
  });

  it("of new threads are the user's, and end with the page where the site names none", () => {
    const storage = new MemoryStorage();
    for (const user of ["ann", null]) {
      const tab = new Tab(storage, user);
      tab.open(null);
      expect(tab.text).toBe("");
      tab.type(`of ${user}`);
      tab.load("1");
      tab.open(null);
      expect(tab.text).toBe(`of ${user}`);
    }
    expect(storage.values.size).toBe(1);
    const ben = new Tab(storage, "ben");
    ben.open(null);
    expect(ben.text).toBe("");
  });

  it("do not change the box of another tab", () => {
    const storage = new MemoryStorage();
    const [one, two] = [new Tab(storage), new Tab(storage)];
    for (const tab of [one, two]) tab.load("1");
    one.type("first");
    two.type("second");
    one.type("more");
    two.open("1");
    expect([one.text, two.text]).toEqual(["first more", "second"]);
    one.send();
    one.answer(true);
    expect(storage.values.size).toBe(0);
    two.type("more");
    expect(storage.values.size).toBe(1);
  });

  it("have a refused message of a thread that was left", () => {
    const tab = new Tab(new MemoryStorage());
    tab.load("1");
    tab.type("refused");
    tab.send();
    tab.type("rest");
    tab.load("2");
    tab.answer(false);
    expect(tab.text).toBe("");
    tab.load("1");
    expect(tab.text).toBe("refused\n\nrest");
  });

  it("are dropped with their thread", () => {
    const storage = new MemoryStorage();
    const tab = new Tab(storage);
    tab.load("1");
    tab.type("gone");
    tab.open(null);
    tab.forget("1");
    expect(storage.values.size).toBe(0);
  });
});
