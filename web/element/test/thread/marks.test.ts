import { describe, expect, it } from "vitest";
import type { MarkedRun, ThreadItem } from "../../src/server/protocol.js";
import { breakOff, endRetries, showMarks } from "../../src/thread/marks.js";
import { ThreadState } from "../../src/thread/state.js";

const message = (id: string): ThreadItem => ({ type: "user_message", id, content: [] });
const answer = (id: string, text = "Well."): ThreadItem => ({
  type: "assistant_message",
  id,
  content: [{ type: "output_text", text }],
});
const run = (id: string, changes: Partial<MarkedRun>): MarkedRun => ({
  id,
  kind: "threads.create",
  status: "failed",
  error: "stream.error",
  item_id: null,
  last_item_ids: [],
  ...changes,
});

function stateOf(...items: ThreadItem[]): ThreadState {
  const state = new ThreadState();
  state.loadNewest({ data: [...items].reverse() });
  return state;
}

const idsOf = (state: ThreadState) => [...state.items.keys()];

describe("marks from the server", () => {
  it("stand behind the last item of their run that the page has, or behind its message", () => {
    const state = stateOf(message("m1"), answer("a1"), message("m2"), message("m3"));
    const stopped = run("run_1", { status: "cancelled", item_id: "m1", last_item_ids: ["hidden", "a1"] });
    const failed = run("run_2", { item_id: "m2" });
    showMarks(state, { runs: [stopped, failed], feedback: {} });
    expect(idsOf(state)).toEqual(["m1", "a1", "stopped:run_1", "m2", "error:run_2", "m3"]);
    expect(state.items.get("error:run_2")).toMatchObject({ reason: "lost", canRetry: false });
  });

  it("stand before the next message where the server cannot tell what their run has added", () => {
    const state = stateOf(message("m1"), answer("a1"), answer("a2"), message("m2"), answer("a3"));
    const stopped = run("run_1", { status: "cancelled", item_id: "m1", last_item_ids: null });
    const failed = run("run_2", { item_id: "m2", last_item_ids: null });
    const away = run("run_3", { item_id: "m9", last_item_ids: null });
    showMarks(state, { runs: [stopped, failed, away], feedback: {} });
    expect(idsOf(state)).toEqual(["m1", "a1", "a2", "stopped:run_1", "m2", "a3", "error:run_2"]);
    expect(state.items.get("error:run_2")).toMatchObject({ canRetry: true });
    expect(state.items.get("error:run_2")).not.toHaveProperty("reason");
  });

  it("offer to try again at the end alone, and not for an action", () => {
    const atEnd = (kind: string) => {
      const state = stateOf(message("m1"));
      showMarks(state, { runs: [run("run_1", { kind, item_id: "m1" })], feedback: {} });
      return state.items.get("error:run_1");
    };
    expect(atEnd("threads.create")).toMatchObject({ canRetry: true });
    expect(atEnd("threads.custom_action")).toMatchObject({ canRetry: false });
  });

  it("go once the server does not tell their run any more, and keep the words that the page has", () => {
    const state = stateOf(message("m1"), message("m2"));
    const ofRun = { type: "error", canRetry: true, again: null } as const;
    state.putAfter("m1", { ...ofRun, id: "error:run_1" });
    state.putAfter("m2", { ...ofRun, id: "error:run_2", message: "The words of the run" });
    showMarks(state, { runs: [run("run_2", { item_id: "m2" })], feedback: {} });
    expect(idsOf(state)).toEqual(["m1", "m2", "error:run_2"]);
    expect(state.items.get("error:run_2")).toMatchObject({ message: "The words of the run" });
  });

  it("of an item that is not loaded are left out", () => {
    const state = stateOf(message("m9"));
    showMarks(state, { runs: [run("run_1", { item_id: "m1" })], feedback: { a1: "positive" } });
    expect(idsOf(state)).toEqual(["m9"]);
    expect(state.feedback.get("a1")).toBe("positive");
  });
});

describe("a failed run", () => {
  it("leaves nothing of an item without a word, and marks the others as its own", () => {
    const state = stateOf(message("m1"));
    for (const item of [answer("empty", ""), answer("half", "It begins")]) {
      state.apply({ type: "thread.item.added", item });
    }
    breakOff(state, new Set(["empty", "half"]));
    expect(idsOf(state)).toEqual(["m1", "half"]);
    expect(state.items.get("half")).toMatchObject({ broken: true });
    state.loadNewest({ data: [message("m1")] });
    expect(idsOf(state)).toEqual(["m1", "half"]);
    expect(state.equals({ data: [message("m1")] })).toBe(true);
  });

  it("cannot be tried again once the conversation has gone on", () => {
    const state = stateOf(message("m1"));
    state.put({ id: "error:run_1", type: "error", canRetry: true, again: null });
    endRetries(state);
    expect(state.items.get("error:run_1")).toMatchObject({ canRetry: false });
  });
});

describe("messages that wait", () => {
  it("stand behind the answer that is being written", () => {
    const state = stateOf(message("m1"), message("m2"));
    state.markWaiting(new Map([["m2", "run_2"]]));
    expect(state.items.get("m2")).toMatchObject({ waiting: "run_2" });
    state.apply({ type: "thread.item.added", item: answer("a1", "") });
    expect(idsOf(state)).toEqual(["m1", "a1", "m2"]);
    expect(state.lastAnswered?.id).toBe("a1");
    state.markWaiting(new Map());
    expect(state.items.get("m2")).toEqual(message("m2"));
    state.apply({ type: "thread.item.added", item: answer("a2", "") });
    expect(idsOf(state)).toEqual(["m1", "a1", "m2", "a2"]);
  });
});
