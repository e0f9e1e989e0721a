import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ConnectionState, RESUME_ACTION, resumeInWidget } from "../src/index.js";
import { answer, Backend, type Entry, refusing, resetting } from "./backend.js";
import { chat, entriesOf, errorOf, QUICK, until } from "./chat.js";

let backend: Backend;
beforeEach(async () => {
  backend = await Backend.start();
});
afterEach(() => backend.stop());

const whole = answer(6);

describe("an answer whose connection is cut", () => {
  it("goes on after the last event that was whole, on one response, and ends with the run", async () => {
    backend.end = null;
    const { post, fetch, told } = chat(backend);
    const states: ConnectionState[] = [];
    fetch.connection.subscribe(() => states.push(fetch.connection.state));
    const response = await post("threads.create");
    const entries = entriesOf(response);
    for (const entry of whole) {
      backend.append(entry);
      await until("the client is there", () => backend.asked.length > 0);
      backend.cut();
      const asked = backend.asked.length;
      await until("the client is back", () => backend.asked.length > asked);
    }
    backend.finish("completed");
    expect(await entries).toEqual(whole);
    expect(backend.paths("GET").every((path) => path === "/runs/run-1/events")).toBe(true);
    expect(states.filter((state) => state !== "connecting" && state !== "open")).toEqual([
      ...whole.map(() => "reconnecting"),
      "idle",
    ]);
    expect(told).toContainEqual(expect.objectContaining({ type: "ended", status: "completed", runId: "run-1" }));
    expect(JSON.stringify(told)).not.toContain("wörd");
  });

  it("survives whatever stands before the server", async () => {
    backend.end = null;
    const { post } = chat(backend);
    const entries = entriesOf(await post("threads.create"));
    backend.faults.push(
      resetting,
      refusing(502, "x"),
      refusing(500, "internal"),
      (response) => void response.writeHead(522).end(),
      (response) => void response.writeHead(404).end("default backend - 404"),
      (response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
      (response) => void response.writeHead(200, { "content-type": "text/event-stream" }).end(),
      refusing(503, "overloaded"),
      refusing(429, "too_many_streams"),
    );
    backend.append(...whole.slice(0, 4));
    backend.cut();
    backend.append(...whole.slice(4));
    backend.end = "completed";
    expect(await entries).toEqual(whole);
  });

  it("ends where nothing was left after the cursor", async () => {
    backend.end = null;
    const { post } = chat(backend);
    const received: Entry[] = [];
    const entries = entriesOf(await post("threads.create"), received);
    backend.append(...whole);
    await until("all has come", () => received.length === whole.length);
    backend.faults.push((response) => void response.writeHead(204).end());
    backend.cut();
    expect(await entries).toEqual(whole);
  });

  it("is made anew when nothing comes for long", async () => {
    backend.end = null;
    const { post, told } = chat(backend, { limits: { ...QUICK, silenceMs: 50 } });
    const entries = entriesOf(await post("threads.create"));
    await until("it came back", () => told.some((each) => each.type === "reconnected"));
    expect(told).toContainEqual(expect.objectContaining({ type: "reconnecting", cause: "silence" }));
    backend.append(...whole);
    backend.finish("completed");
    expect(await entries).toEqual(whole);
  });

  it("says that the connection is lost when the server stays away, and that Retry may help", async () => {
    backend.end = null;
    const { post } = chat(backend, { limits: { ...QUICK, followTries: 3 } });
    const response = await post("threads.create");
    backend.faults.push(...Array(4).fill(resetting));
    const error = errorOf(response);
    backend.cut();
    expect(await error).toMatchObject({ message: expect.stringMatching(/still being written/), allow_retry: true });
  });
});

describe("an answer of which a part is gone", () => {
  beforeEach(() => {
    backend.end = null;
    backend.faults.push((response) => backend.stream(response, undefined));
    backend.faults.push(refusing(410, "journal_gone", { thread_id: "thread-1" }));
  });

  it("tells the page to load the thread, once the run is over", async () => {
    const gaps: unknown[] = [];
    const { post, told } = chat(backend, { onReload: (gap) => gaps.push(gap) });
    const received: Entry[] = [];
    const entries = entriesOf(await post("threads.create"), received);
    backend.append(...whole.slice(0, 3));
    await until("they have come", () => received.length === 3);
    backend.cut();
    await until("the client asked whether the run is over", () => backend.paths("GET").includes("/runs/run-1"));
    expect(gaps).toEqual([]);
    backend.end = "completed";
    expect(await entries).toEqual(whole.slice(0, 3));
    expect(gaps).toEqual([{ runId: "run-1", threadId: "thread-1" }]);
    expect(told).toContainEqual({ type: "gap", runId: "run-1", cursor: "1-3" });
  });

  it("is not shown as whole where nobody loads the thread", async () => {
    const { post } = chat(backend);
    const error = errorOf(await post("threads.create"));
    backend.cut();
    backend.end = "completed";
    expect((await error).message).toMatch(/Reload the page/);
  });
});

describe("Stop", () => {
  it("cancels the run on the server", async () => {
    backend.end = null;
    const stopping = new AbortController();
    const { post, told } = chat(backend);
    const entries = entriesOf(await post("threads.create", {}, { signal: stopping.signal }));
    backend.append(...whole.slice(0, 3));
    await until("it follows", () => told.some((each) => each.type === "first_event"));
    stopping.abort();
    await expect(entries).rejects.toThrow("abort");
    await until("the run was cancelled", () => backend.cancelled);
    await until("the hook was told", () => told.some((each) => each.type === "stopped"));
  });

  it("cancels the run while the connection is away, as soon as it is back", async () => {
    backend.end = null;
    const stopping = new AbortController();
    const { post } = chat(backend, { limits: { ...QUICK, maxWaitMs: 50 } });
    const entries = entriesOf(await post("threads.create", {}, { signal: stopping.signal }));
    backend.faults.push(resetting, resetting, resetting);
    backend.cut();
    stopping.abort();
    await expect(entries).rejects.toThrow("abort");
    await until("the run was cancelled", () => backend.cancelled);
  });

  it("before the answer cancels the run that the message became", async () => {
    backend.entries = whole;
    let respond = () => {};
    backend.faults.push(resetting, (response) => {
      respond = () => backend.stream(response, undefined);
    });
    const stopping = new AbortController();
    const asked = chat(backend).post("threads.create", {}, { signal: stopping.signal });
    await until("it was sent twice", () => backend.asked.length === 2);
    stopping.abort();
    await expect(asked).rejects.toThrow("abort");
    expect(backend.cancelled).toBe(false);
    respond();
    await until("the run was cancelled", () => backend.cancelled);
  });

  it("while no try has reached the server sends nothing more", async () => {
    backend.faults.push(refusing(503, "stopping", {}, { "retry-after": "1" }));
    const stopping = new AbortController();
    const asked = chat(backend, { limits: { maxWaitMs: 300 } }).post("threads.create", {}, { signal: stopping.signal });
    await until("it was sent", () => backend.asked.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    stopping.abort();
    await expect(asked).rejects.toThrow("abort");
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    expect(backend.asked).toHaveLength(1);
  });

  it("while the token is being fetched sends nothing", async () => {
    let give = (_: string) => {};
    const getToken = () => new Promise<string>((resolve) => (give = resolve));
    const stopping = new AbortController();
    const asked = chat(backend, { getToken }).post("threads.create", {}, { signal: stopping.signal });
    stopping.abort();
    await expect(asked).rejects.toThrow("abort");
    give("token");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(backend.asked).toEqual([]);
  });

  it("before anything is sent sends nothing", async () => {
    const signal = AbortSignal.abort();
    await expect(chat(backend).post("threads.create", {}, { signal })).rejects.toThrow("abort");
    expect(backend.asked).toEqual([]);
  });

  it("after the end is none", async () => {
    backend.entries = whole;
    const stopping = new AbortController();
    await entriesOf(await chat(backend).post("threads.create", {}, { signal: stopping.signal }));
    stopping.abort();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(backend.asked).toHaveLength(1);
  });

  it("is what the site says it is", async () => {
    backend.end = null;
    const leaving = new AbortController();
    const { post, told } = chat(backend, { isStop: (reason) => reason !== "unmounted" });
    const entries = entriesOf(await post("threads.create", {}, { signal: leaving.signal }));
    backend.append(...whole.slice(0, 3));
    await until("it follows", () => told.some((each) => each.type === "first_event"));
    leaving.abort("unmounted");
    await expect(entries).rejects.toBe("unmounted");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(backend.cancelled).toBe(false);
  });

  it("is not that the reader goes away", async () => {
    backend.end = null;
    const { post, fetch } = chat(backend);
    const response = await post("threads.create");
    await response.body?.cancel();
    expect(fetch.connection.state).toBe("idle");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(backend.cancelled).toBe(false);
  });
});

describe("end", () => {
  it("ends all that is under way, stops no run, and serves what comes later", async () => {
    backend.end = null;
    const { fetch, post } = chat(backend);
    const following = entriesOf(await post("threads.create"));
    backend.faults.push(() => {});
    const sending = post("threads.create");
    await until("both are under way", () => backend.asked.length === 2);
    fetch.end();
    await expect(following).rejects.toThrow("Another user");
    await expect(sending).rejects.toThrow("Another user");
    expect(fetch.connection.state).toBe("idle");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(backend.cancelled).toBe(false);
    backend.end = "completed";
    expect(await entriesOf(await post("threads.create"))).toEqual(backend.entries);
  });
});

describe("resumeThread", () => {
  it("follows the active run from its first event", async () => {
    backend.end = null;
    backend.entries = whole.slice(0, 4);
    const { fetch } = chat(backend);
    const run = await fetch.resumeThread("thread-1");
    const entries = entriesOf(run?.response as Response);
    await until("it follows", () => backend.asked.length === 2);
    backend.append(...whole.slice(4));
    backend.finish("completed");
    expect(run?.runId).toBe("run-1");
    expect(await entries).toEqual(whole);
    expect(await fetch.resumeThread("thread-1")).toBeNull();
  });

  it("stops it", async () => {
    backend.end = null;
    const { fetch } = chat(backend);
    await (await fetch.resumeThread("thread-1"))?.stop();
    expect(backend.cancelled).toBe(true);
    backend.cancelled = false;
    expect(await fetch.stopThread("thread-1")).toBe(true);
    expect(backend.cancelled).toBe(true);
    backend.end = "cancelled";
    expect(await fetch.stopThread("thread-1")).toBe(false);
  });

  it("tells that this page has the answer already", async () => {
    backend.end = null;
    const { fetch, post } = chat(backend);
    const entries = entriesOf(await post("threads.create"));
    for (let i = 0; i < 2; i++) {
      const run = await fetch.resumeThread("thread-1");
      expect(run?.isFollowed).toBe(true);
      await run?.response.body?.cancel();
    }
    backend.finish("completed");
    await entries;
    backend.end = null;
    expect((await fetch.resumeThread("thread-1"))?.isFollowed).toBe(false);
  });

  it("in the stock widget follows one thread at a time", async () => {
    backend.end = null;
    const { fetch, told } = chat(backend);
    const widget = { fetchUpdates: async () => {}, sendCustomAction: async () => {} };
    const first = resumeInWidget(fetch, widget, "thread-1");
    await until("it follows", () => backend.asked.length === 2);
    const second = resumeInWidget(fetch, widget, "thread-1");
    await first;
    await until("the second one follows", () => backend.asked.length === 4);
    backend.finish("completed");
    await second;
    expect(told.filter((each) => each.type === "ended")).toHaveLength(1);
  });

  it("raises what the server refuses", async () => {
    backend.faults.push(refusing(404, "thread_not_found"));
    await expect(chat(backend).fetch.resumeThread("thread-1")).rejects.toThrow("said thread_not_found");
  });

  it("in the stock widget fetches the thread as items are finished and at the end", async () => {
    backend.end = null;
    backend.entries = whole.slice(0, 4);
    const { fetch } = chat(backend);
    let updates = 0;
    const widget = {
      fetchUpdates: async () => {
        updates += 1;
      },
      sendCustomAction: async () => {},
    };
    const resumed = resumeInWidget(fetch, widget, "thread-1");
    await until("it follows", () => backend.asked.length === 2);
    backend.append(...whole.slice(4));
    await until("the finished item was fetched", () => updates === 1);
    backend.finish("completed");
    await resumed;
    expect(updates).toBe(2);
  });

  it("in the stock widget may go through an action, which never reaches the server", async () => {
    backend.end = null;
    const { fetch, post } = chat(backend);
    const sent: { type: string; payload?: Record<string, unknown> }[] = [];
    const widget = {
      fetchUpdates: async () => {},
      sendCustomAction: async (action: { type: string; payload?: Record<string, unknown> }) => void sent.push(action),
    };
    await resumeInWidget(fetch, widget, "thread-1", { live: true });
    expect(sent).toEqual([{ type: RESUME_ACTION, payload: { run_id: "run-1" } }]);
    backend.append(...whole);
    backend.end = "completed";
    expect(await entriesOf(await post("threads.custom_action", { action: sent[0] }))).toEqual(whole);
    expect(backend.paths("POST")).toEqual([]);
  });
});
