import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CODE_HEADER, resumeInWidget } from "../src/index.js";
import { answer, Backend, refusing } from "./backend.js";
import { chat, entriesOf, errorOf } from "./chat.js";

let backend: Backend;
beforeEach(async () => {
  backend = await Backend.start();
  backend.entries = answer(3);
});
afterEach(() => backend.stop());

const OUTPUT = "threads.add_client_tool_output";
const resultsOf = () => backend.asked.map(({ body }) => JSON.parse(body).params.result);

describe("the result of a client tool", () => {
  it.each([
    [400, "invalid_json"],
    [413, "body_too_large"],
    [422, "message_too_large"],
  ])("that is refused with %i is sent again as an error, once, under another key", async (status, code) => {
    backend.faults.push(refusing(status, code));
    const { post } = chat(backend);
    const params = { thread_id: "thread-1", item_id: "call-1", result: { shot: "x" } };
    expect(await entriesOf(await post(OUTPUT, params))).toEqual(backend.entries);
    expect(resultsOf()).toEqual([{ shot: "x" }, { error: `The result of the tool could not be sent: said ${code}` }]);
    const keys = backend.asked.map(({ headers }) => headers["idempotency-key"]);
    expect(new Set(keys).size).toBe(2);
    expect(JSON.parse(backend.asked[1]?.body ?? "").params.item_id).toBe("call-1");
  });

  it("goes with the page's metadata then too, and with well-formed text", async () => {
    backend.faults.push(refusing(413, "body_too_large"));
    const { post } = chat(backend, { metadata: () => ({ title: "cut \ud83d" }) });
    await entriesOf(await post(OUTPUT, { thread_id: "thread-1", result: "x" }));
    expect(backend.asked.map(({ body }) => JSON.parse(body).metadata)).toEqual(Array(2).fill({ title: "cut \ufffd" }));
  });

  it("is not sent a third time where its error is refused too", async () => {
    backend.faults.push(refusing(413, "body_too_large"), refusing(413, "body_too_large"));
    const response = await chat(backend).post(OUTPUT, { thread_id: "thread-1", result: 1 });
    expect(response.headers.get(CODE_HEADER)).toBe("body_too_large");
    expect((await errorOf(response)).allow_retry).toBe(false);
    expect(backend.asked).toHaveLength(2);
  });

  it("that came too late is refused with the server's code, and not sent again", async () => {
    backend.faults.push(refusing(409, "item_mismatch"));
    const response = await chat(backend).post(OUTPUT, { thread_id: "thread-1", result: 1 });
    expect(response.headers.get(CODE_HEADER)).toBe("item_mismatch");
    expect(backend.asked).toHaveLength(1);
  });

  it("is the only thing that is replaced: a message that is too large is refused", async () => {
    backend.faults.push(refusing(413, "body_too_large"));
    const response = await chat(backend).post("threads.create", { input: { text: "x" } });
    expect(response.headers.get(CODE_HEADER)).toBe("body_too_large");
    expect(backend.asked).toHaveLength(1);
  });
});

describe("a thread that awaits the output of a client tool", () => {
  beforeEach(() => {
    backend.awaits = { item_id: "call-1", seconds_left: 12.5 };
  });

  it("says so, and has no run to follow", async () => {
    const { fetch } = chat(backend);
    const awaits = { runId: "run-1", itemId: "call-1", secondsLeft: 12.5 };
    expect(await fetch.threadActivity("thread-1")).toEqual({ run: null, awaits });
    expect(await fetch.resumeThread("thread-1")).toBeNull();
    await resumeInWidget(fetch, { fetchUpdates: async () => {}, sendCustomAction: async () => {} }, "thread-1");
    expect(backend.paths("GET")).toEqual(Array(3).fill("/threads/thread-1/run"));
  });

  it("does not respond, and is asked without being followed", async () => {
    expect(await chat(backend).fetch.isResponding("thread-1")).toBe(false);
    backend.awaits = null;
    expect(await chat(backend).fetch.isResponding("thread-1")).toBe(false);
    backend.end = null;
    expect(await chat(backend).fetch.isResponding("thread-1")).toBe(true);
    expect(backend.paths("GET")).toEqual(Array(3).fill("/threads/thread-1/run"));
  });

  it("can be stopped", async () => {
    expect(await chat(backend).fetch.stopThread("thread-1")).toBe(true);
    expect(backend.cancelled).toBe(true);
  });
});
