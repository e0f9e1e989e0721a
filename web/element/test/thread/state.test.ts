import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StreamEvent, ThreadItem } from "../../src/server/protocol.js";
import { ThreadState } from "../../src/thread/state.js";

const message = (id: string, text = ""): ThreadItem => ({
  id,
  type: "assistant_message",
  content: text === "" ? [] : [{ type: "output_text", text, annotations: [] }],
});
const asked = (id: string): ThreadItem => ({ id, type: "user_message", content: [{ type: "input_text", text: id }] });
const added = (item: ThreadItem): StreamEvent => ({ type: "thread.item.added", item });
const done = (item: ThreadItem): StreamEvent => ({ type: "thread.item.done", item });
const updated = (id: string, update: StreamEvent): StreamEvent => ({
  type: "thread.item.updated",
  item_id: id,
  update,
});
const delta = (id: string, text: string) =>
  updated(id, { type: "assistant_message.content_part.text_delta", content_index: 0, delta: text });

function after(events: readonly StreamEvent[], state = new ThreadState()): ThreadState {
  for (const event of events) state.apply(event);
  return state;
}

const shown = (state: ThreadState) => ({ items: [...state.items], open: [...state.open].sort() });

/** The events of some items, each added, grown in pieces and done, or removed again; in sequence or interleaved. */
const runs = fc
  .array(
    fc.record({ id: fc.constantFrom("a", "b", "c"), pieces: fc.array(fc.string(), { maxLength: 5 }), ends: fc.nat(2) }),
    { maxLength: 4 },
  )
  .map((items) =>
    items.flatMap(({ id, pieces, ends }) => {
      const ending = [done(message(id, pieces.join(""))), { type: "thread.item.removed", item_id: id }];
      return [added(message(id)), ...pieces.map((piece) => delta(id, piece)), ...ending.slice(0, ends)];
    }),
  );

/** A value so deep that JSON.parse reads it and JSON.stringify fails. */
function deep(): ThreadItem {
  let widget: object = {};
  for (let depth = 0; depth < 100_000; depth += 1) widget = { children: widget };
  return { id: "deep", type: "widget", widget } as unknown as ThreadItem;
}

describe("ThreadState", () => {
  it("passes over entries that are no items, and keeps the others", () => {
    const state = new ThreadState();
    const data = [null, message("b"), 7, { type: "widget" }, { id: "c" }, message("a")] as unknown as ThreadItem[];
    state.loadNewest({ data });
    state.loadEarlier({ data: [null, message("z")] as unknown as ThreadItem[] });
    expect([...state.items.keys()]).toEqual(["z", "a", "b"]);
    expect(state.equals({ data, has_more: true })).toBe(true);
  });

  it("takes nothing of a thread for a text that is none", () => {
    const state = new ThreadState();
    const odd = { toString: "no function" };
    const status = { type: "closed", reason: odd };
    state.setThread({ id: "t", title: odd, status, allowed_image_domains: [odd, "a.example"] } as never);
    expect([state.title, state.status.reason, state.imageDomains]).toEqual([null, null, ["a.example"]]);
  });

  it("compares items that nest too deep to be written down", () => {
    const state = new ThreadState();
    state.loadNewest({ data: [deep(), message("a")] });
    expect(state.equals({ data: [deep(), message("a")] })).toBe(false);
  });

  it("is the same after a replay of the run from its start, wherever that was left", () => {
    fc.assert(
      fc.property(runs, fc.nat(30), (events, left) => {
        const seen = after(events.slice(0, left));
        const known = new Set(events.flatMap((event) => (event.type === "thread.item.added" ? [event.item] : [])));
        expect(shown(after(events, seen)).open).toEqual(shown(after(events)).open);
        for (const item of known) {
          const { id } = item as ThreadItem;
          expect(seen.items.get(id)).toEqual(after(events).items.get(id));
        }
      }),
    );
  });

  it("never changes an item that it was given", () => {
    fc.assert(
      fc.property(runs, (events) => {
        const before = JSON.stringify(events);
        after(events);
        expect(JSON.stringify(events)).toBe(before);
      }),
    );
  });

  it("passes over what it does not know", () => {
    const state = after([added(message("a", "x"))]);
    const before = shown(state);
    after(
      [{ type: "of.a.later.version" }, updated("a", { type: "of.a.later.version" }), updated("z", { type: "x" })],
      state,
    );
    expect(shown(state)).toEqual(before);
  });

  it("puts annotations where the server said", () => {
    const annotate = (title: string, index: number) =>
      updated("a", {
        type: "assistant_message.content_part.annotation_added",
        content_index: 0,
        annotation_index: index,
        annotation: { source: { type: "url", title } },
      });
    const state = after([added(message("a", "text")), annotate("second", 0), annotate("first", 0)]);
    const item = state.items.get("a");
    const titles = item?.type === "assistant_message" && item.content[0]?.annotations?.map((one) => one.source.title);
    expect(titles).toEqual(["first", "second"]);
  });

  it("changes one component of a widget, however deep", () => {
    const widget = {
      type: "Card",
      children: [
        { type: "Row", children: [{ type: "Text", id: "t", value: "a" }] },
        { type: "Text", value: "kept" },
      ],
    };
    const item: ThreadItem = { id: "w", type: "widget", widget };
    const grown = updated("w", {
      type: "widget.streaming_text.value_delta",
      component_id: "t",
      delta: "b",
      done: false,
    });
    const state = after([added(item), grown]);
    expect(JSON.stringify(state.items.get("w"))).toContain('"value":"ab"');
    expect(JSON.stringify(state.items.get("w"))).toContain('"value":"kept"');
  });

  it("takes the server's newest items, and keeps what is still being written and what only it knows", () => {
    const state = after([done(asked("q")), added(message("a", "half"))]);
    state.put({ id: "n", type: "notice", level: "info", message: "m" });
    state.loadNewest({ data: [asked("q")], has_more: true, after: "q" });
    expect([...state.items.keys()]).toEqual(["q", "a", "n"]);
    expect([state.hasEarlier, state.earlierAfter]).toEqual([true, "q"]);
    state.loadEarlier({ data: [message("old2"), message("old1")], has_more: false });
    expect([...state.items.keys()]).toEqual(["old1", "old2", "q", "a", "n"]);
  });

  it("does not lose to an older answer what has come meanwhile", () => {
    const state = after([done(asked("q1"))]);
    const { mark } = state;
    state.put({ id: "pending:1", type: "user_message", content: [], pending: true });
    after([done(message("a1", "new")), done(asked("q2")), { type: "thread.item.removed", item_id: "q1" }], state);
    state.loadNewest({ data: [message("a1", "old"), asked("q1"), asked("q0")] }, mark);
    expect([...state.items.keys()].sort()).toEqual(["a1", "pending:1", "q0", "q2"]);
    expect(JSON.stringify(state.items.get("a1"))).toContain("new");
  });

  it("keeps what is earlier than the newest page, and marks where they stand", () => {
    const state = after([done(asked("q1")), done(message("a1"))]);
    state.put({ id: "s", type: "stopped" });
    after([done(asked("q2")), done(message("a2"))], state);
    state.loadNewest({ data: [message("a3"), message("a2"), asked("q2")], has_more: true, after: "q2" });
    expect([...state.items.keys()]).toEqual(["q1", "a1", "s", "q2", "a2", "a3"]);
    expect(state.hasEarlier).toBe(false);
    expect(state.equals({ data: [message("a3"), message("a2")], has_more: true })).toBe(true);
  });

  it("knows which message an answer belongs to", () => {
    const state = after([done(asked("q1")), done(message("a1")), done(asked("q2")), done(message("a2"))]);
    expect([state.messageBefore("a1")?.id, state.messageBefore("a2")?.id]).toEqual(["q1", "q2"]);
    state.dropAfter("q2");
    expect(state.last?.id).toBe("q2");
  });
});

describe("pages of items", () => {
  it("keeps what is shown where the server hides all items of its newest page", () => {
    const state = new ThreadState();
    state.loadNewest({ data: [], has_more: true, after: "x" });
    expect(state.seenCount).toBe(0);
    expect(state.earlierAfter).toBe("x");
    state.loadEarlier({ data: [message("b"), asked("a")], has_more: false });
    expect(state.seenCount).toBe(2);
    state.loadNewest({ data: [], has_more: true, after: "x" });
    expect([...state.items.keys()]).toEqual(["a", "b"]);
    expect(state.hasEarlier).toBe(false);
  });

  it("counts what can be seen", () => {
    const state = new ThreadState();
    const hidden = { id: "h", type: "of a later version" } as unknown as ThreadItem;
    state.loadNewest({ data: [hidden, message("b"), asked("a")] });
    expect(state.seenCount).toBe(2);
  });
});

describe("the messages behind an answer", () => {
  it("are those from the next message of the person on", () => {
    const marker = { id: "e", type: "end_of_turn" } as unknown as ThreadItem;
    const state = new ThreadState();
    state.loadNewest({ data: [message("d"), asked("c"), marker, message("b2"), message("b"), asked("a")] });
    expect(state.laterThan("a")).toBe(2);
    expect(state.laterThan("c")).toBe(0);
    expect(state.laterThan("unknown")).toBe(0);
  });
});
