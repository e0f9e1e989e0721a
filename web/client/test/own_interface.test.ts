import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readEvents } from "../src/index.js";
import { answer, Backend } from "./backend.js";
import { chat, until } from "./chat.js";

let backend: Backend;
beforeEach(async () => {
  backend = await Backend.start();
});
afterEach(() => backend.stop());

const whole = answer(6);

describe("readEvents", () => {
  it("gives each event and then how the run has ended", async () => {
    backend.entries = whole;
    backend.end = "failed";
    const events = readEvents(await chat(backend).post("threads.create"));
    const read = [];
    for (;;) {
      const next = await events.next();
      if (next.done) {
        expect(next.value).toBe("failed");
        break;
      }
      read.push(next.value.cursor);
    }
    expect(read).toHaveLength(whole.length);
  });

  it("ends when it is told to, and the run goes on", async () => {
    backend.entries = whole;
    backend.end = null;
    const { fetch, post } = chat(backend);
    const leaving = new AbortController();
    const events = readEvents(await post("threads.create"), leaving.signal);
    for (const _ of whole) expect((await events.next()).done).toBe(false);
    const waiting = events.next();
    leaving.abort();
    expect(await waiting).toEqual({ done: true, value: null });
    await until("nothing is followed", () => fetch.connection.state === "idle");
    expect(backend.cancelled).toBe(false);
  });
});

describe("stopRun", () => {
  it("stops the run, whose answer goes on until its own end", async () => {
    backend.entries = whole.slice(0, 4);
    backend.end = null;
    const { fetch, post } = chat(backend);
    const response = await post("threads.create");
    const reading = (async () => {
      const events = readEvents(response);
      for (let count = 0; ; count++) {
        const next = await events.next();
        if (next.done) return { count, status: next.value };
      }
    })();
    await fetch.stopRun(response.headers.get("x-run-id") as string);
    expect(backend.cancelled).toBe(true);
    backend.append(...whole.slice(4));
    backend.finish("cancelled");
    expect(await reading).toEqual({ count: whole.length, status: "cancelled" });
  });
});
