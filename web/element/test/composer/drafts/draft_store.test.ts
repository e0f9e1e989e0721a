import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  browserStorage,
  DraftStore,
  MAX_DRAFT_AGE_MS,
  MAX_DRAFT_CHARACTERS,
  MAX_DRAFTS,
} from "../../../src/composer/drafts/draft_store.js";
import type { Words } from "../../../src/composer/drafts/words.js";
import { MemoryStorage } from "./memory_storage.js";

const CHAT = "https://shop.test/chatkit";
const words = (text: string, quotedText: string | null = null): Words => ({
  content: text === "" ? [] : [{ type: "input_text", text }],
  quotedText,
});

const place = fc.constantFrom("new ann", "new ben", "thread 1", "thread 2", "thread 3");
const operation = fc.oneof(
  fc.record({
    do: fc.constant("write" as const),
    place,
    length: fc.oneof(fc.nat(40), fc.constant(MAX_DRAFT_CHARACTERS)),
    quote: fc.option(fc.string({ maxLength: 9 })),
  }),
  fc.record({ do: fc.constant("reload" as const) }),
  fc.record({ do: fc.constant("wait" as const), ms: fc.nat(MAX_DRAFT_AGE_MS) }),
  fc.record({ do: fc.constant("quota" as const), quota: fc.nat(600) }),
  fc.record({ do: fc.constant("block" as const), isBlocked: fc.boolean() }),
);

afterEach(() => vi.unstubAllGlobals());

describe("the store of drafts", () => {
  it("has what was written last, or nothing once the page was loaded again, whatever the storage does", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60, size: "max" }), (operations) => {
        let now = 1;
        let written = 0;
        const storage = new MemoryStorage();
        const open = () => new DraftStore(storage, CHAT, () => now);
        let store = open();
        const last = new Map<string, { words: Words; isReloaded: boolean; isBlocked: boolean; at: number }>();
        for (const step of operations) {
          if (step.do === "wait") now += step.ms;
          else if (step.do === "quota") storage.quota = step.quota;
          else if (step.do === "block") storage.isBlocked = step.isBlocked;
          else if (step.do === "reload") {
            store = open();
            for (const draft of last.values()) draft.isReloaded = true;
          } else {
            written += 1;
            const text = step.length === 0 ? "" : `${written}`.padEnd(step.length, ".");
            const draft = words(text, step.quote || null);
            last.set(step.place, { words: draft, isReloaded: false, isBlocked: storage.isBlocked, at: now });
            store.write(step.place, draft);
          }
          for (const [at, { words: expected, isReloaded, isBlocked, at: since }] of last) {
            // A blocked storage keeps what it has, which a page that is loaded later may find.
            if (isReloaded && isBlocked) continue;
            const found = store.read(at);
            const isEmpty = expected.content.length === 0 && expected.quotedText === null;
            if (found !== null) expect(found).toEqual(expected);
            if (isEmpty) expect(found).toBeNull();
            else if (!isReloaded && now - since < MAX_DRAFT_AGE_MS && !storage.isBlocked) {
              expect(found).toEqual(expected);
            }
          }
          for (const text of storage.values.values()) expect(text.length).toBeLessThanOrEqual(MAX_DRAFT_CHARACTERS);
        }
      }),
    );
  });

  it("keeps a draft for a day, on a clock that was set back too", () => {
    let now = 10 * MAX_DRAFT_AGE_MS;
    const storage = new MemoryStorage();
    const store = new DraftStore(storage, CHAT, () => now);
    store.write("thread 1", words("hello"));
    now += MAX_DRAFT_AGE_MS - 1;
    expect(store.read("thread 1")).toEqual(words("hello"));
    now += 1;
    expect(store.read("thread 1")).toBeNull();
    now -= 3 * MAX_DRAFT_AGE_MS;
    expect(store.read("thread 1")).toBeNull();
    new DraftStore(storage, CHAT, () => now);
    expect(storage.values.size).toBe(0);
  });

  it("drops the oldest of too many, and nothing that is not a draft", () => {
    let now = 1;
    const storage = new MemoryStorage();
    storage.setItem("thread", "the page's own");
    const store = new DraftStore(storage, CHAT, () => now);
    for (let number = 0; number < MAX_DRAFTS + 5; number += 1) {
      now += 1;
      store.write(`thread ${number}`, words(`${number}`));
    }
    expect(storage.values.size).toBe(MAX_DRAFTS + 1);
    expect(store.read("thread 4")).toBeNull();
    expect(store.read("thread 5")).toEqual(words("5"));
    expect(storage.getItem("thread")).toBe("the page's own");
  });

  it.each([
    "{",
    "null",
    "7",
    '{"at":1}',
    '{"at":1,"quotedText":null,"content":[{"type":"input_text"}]}',
    '{"content":[]}',
  ])("drops the value %s, which is no draft", (value) => {
    const storage = new MemoryStorage();
    const store = new DraftStore(storage, CHAT, () => 1);
    const key = `relaykit.draft.${CHAT} thread 1`;
    storage.setItem(key, value);
    expect(store.read("thread 1")).toBeNull();
    new DraftStore(storage, CHAT, () => 1);
    expect(storage.values.has(key)).toBe(false);
  });

  it("clears the drafts of its own chat alone", () => {
    const storage = new MemoryStorage();
    const [one, other] = [CHAT, `${CHAT}2`].map((chat) => new DraftStore(storage, chat));
    one?.write("thread 1", words("mine"));
    other?.write("thread 1", words("other"));
    one?.clear();
    expect(one?.read("thread 1")).toBeNull();
    expect(other?.read("thread 1")).toEqual(words("other"));
  });

  it("is in memory where the browser blocks its storage, or has none", () => {
    vi.stubGlobal("window", {
      get localStorage(): Storage {
        throw new DOMException("blocked", "SecurityError");
      },
    });
    expect(browserStorage()).toBeNull();
    const store = new DraftStore(browserStorage(), CHAT);
    store.write("thread 1", words("hello"));
    expect(store.read("thread 1")).toEqual(words("hello"));
    for (let number = 0; number < MAX_DRAFTS; number += 1) store.write(`other ${number}`, words("other"));
    expect(store.read("thread 1")).toBeNull();
  });
});
