import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MESSAGES } from "../src/messages.js";
import { answer, Backend, json, refusing, resetting } from "./backend.js";
import { chat, entriesOf, errorOf, until } from "./chat.js";

let backend: Backend;
beforeEach(async () => {
  backend = await Backend.start();
  backend.entries = answer(3);
});
afterEach(() => backend.stop());

const html = (response: import("node:http").ServerResponse): void => {
  response.writeHead(200, { "content-type": "text/html" }).end("<h1>Sign in to the café's network</h1>");
};

describe("a message", () => {
  it("is answered with the run's events, each at its cursor", async () => {
    const { post } = chat(backend);
    const response = await post("threads.create");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("x-run-id")).toBe("run-1");
    expect(await entriesOf(response)).toEqual(backend.entries);
  });

  it("carries the site's headers, metadata in both places, and a key of its own", async () => {
    const { post } = chat(backend, {
      headers: () => ({ "x-site": "shop" }),
      metadata: () => ({ pageContext: { path: "/cart" }, userInfo: { id: "site" } }),
    });
    await entriesOf(await post("threads.create", { input: { text: "hi", metadata: { userInfo: { id: "own" } } } }));
    await entriesOf(await post("threads.retry_after_item", { item_id: "i" }));
    const [first, second] = backend.asked;
    expect(JSON.parse(first?.body ?? "")).toEqual({
      type: "threads.create",
      metadata: { pageContext: { path: "/cart" }, userInfo: { id: "site" } },
      params: {
        input: { text: "hi", metadata: { pageContext: { path: "/cart" }, userInfo: { id: "own" } } },
      },
    });
    expect(JSON.parse(second?.body ?? "").metadata.pageContext).toEqual({ path: "/cart" });
    expect(first?.headers["x-site"]).toBe("shop");
    expect(first?.headers["relaykit-resume"]).toBe("1");
    expect(first?.headers["idempotency-key"]).toMatch(/^[0-9a-f]{32}$/);
    expect(second?.headers["idempotency-key"]).not.toBe(first?.headers["idempotency-key"]);
  });

  it("holds no half of a character, wherever it was cut", async () => {
    const cut = "a\u{1F600}".slice(0, 2);
    const { post } = chat(backend, { metadata: () => ({ pageContext: { title: cut } }) });
    const input = { content: [{ type: "input_text", text: `${cut} \u{1F600}` }], quoted_text: "\u{1F600}".slice(1) };
    await entriesOf(await post("threads.create", { input }));
    await post("threads.add_client_tool_output", { result: { [cut]: ["\\ud83d", cut] } });
    backend.faults.push((response) => json(response, 200, {}));
    await post("threads.update", { title: cut });
    const [first, second, third] = backend.asked.map(({ body }) => JSON.parse(body));
    expect(first.params.input).toMatchObject({
      content: [{ type: "input_text", text: "a\ufffd \u{1F600}" }],
      quoted_text: "\ufffd",
      metadata: { pageContext: { title: "a\ufffd" } },
    });
    expect(first.metadata).toEqual({ pageContext: { title: "a\ufffd" } });
    expect(second.params.result).toEqual({ "a\ufffd": ["\\ud83d", "a\ufffd"] });
    expect(third.params.title).toBe("a\ufffd");
  });

  it("is sent again with the same key and body until it is answered", async () => {
    backend.faults.push(
      resetting,
      refusing(502, "x"),
      refusing(503, "queue_full"),
      html,
      refusing(429, "rate_limited"),
    );
    const { post, told } = chat(backend);
    expect(await entriesOf(await post("threads.create"))).toEqual(backend.entries);
    expect(new Set(backend.asked.map(({ headers, body }) => `${headers["idempotency-key"]} ${body}`)).size).toBe(1);
    expect(backend.asked).toHaveLength(6);
    expect(told).toContainEqual(expect.objectContaining({ type: "answered", request: "threads.create", tries: 6 }));
  });

  it.each([
    "rate_limited",
    "tenant_rate_limited",
    "too_many_bodies",
    "too_many_queued",
    "too_many_runs",
    "too_many_streams",
  ] as const)("that meets the limit %s at each try is told in words of its own", async (code) => {
    const { post, told } = chat(backend, { limits: { postTries: 2, maxWaitMs: 1 } });
    backend.faults.push(refusing(429, code), refusing(429, code));
    expect(await errorOf(await post("threads.create"))).toMatchObject({ message: MESSAGES[code] });
    expect(told).toContainEqual({ type: "failed", code, runId: null });
  });

  it("waits as long as Retry-After says", async () => {
    backend.faults.push(refusing(503, "stopping", {}, { "retry-after": "1" }));
    const { post } = chat(backend, { limits: { maxWaitMs: 300 } });
    const startedAt = Date.now();
    await post("threads.create");
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_000);
  });

  it.each([
    ["an error of the site's server, in its words", refusing(422, "attachment_rejected"), "said attachment_rejected"],
    ["a busy thread, in words to act on", refusing(409, "thread_busy"), /still being written/],
    [
      "an answer that is no JSON",
      (r: import("node:http").ServerResponse) => void r.writeHead(400).end("?"),
      /could not/,
    ],
  ])("that is refused becomes an error event: %s", async (_, fault, message) => {
    backend.faults.push(fault);
    const { post } = chat(backend);
    const response = await post("threads.create");
    expect(response.status).toBe(200);
    const error = await errorOf(response);
    expect(error.message).toEqual(typeof message === "string" ? message : expect.stringMatching(message));
    expect(error.allow_retry).toBe(false);
    expect(backend.asked).toHaveLength(1);
  });

  it("that never arrived is said to be not sent, and that may have arrived is not", async () => {
    backend.faults.push(...Array(6).fill(refusing(503, "queue_full")), ...Array(6).fill(resetting));
    const { post } = chat(backend);
    expect((await errorOf(await post("threads.create"))).message).toMatch(/was not sent/);
    expect((await errorOf(await post("threads.create"))).message).toMatch(/see whether your message was sent/);
    await backend.stop();
    expect((await errorOf(await post("threads.create"))).message).toMatch(/see whether your message was sent/);
  });

  it.each([500, 520, 504])("is sent again after a %d of who stands before the server", async (status) => {
    backend.faults.push((response) => void response.writeHead(status).end("<h1>Oh</h1>"));
    expect(await entriesOf(await chat(backend).post("threads.create"))).toEqual(backend.entries);
  });

  it("meets a defect of the server once", async () => {
    backend.faults.push(refusing(500, "internal"));
    expect((await errorOf(await chat(backend).post("threads.create"))).message).toBe("said internal");
    expect(backend.asked).toHaveLength(1);
  });

  it.each([403, 429, 503])("that the site's own code refuses with %d is told in its words, once", async (status) => {
    backend.faults.push(refusing(status, "server_refused"));
    expect((await errorOf(await chat(backend).post("threads.create"))).message).toBe("said server_refused");
    expect(backend.asked).toHaveLength(1);
  });

  it("waits for the network as long as there is none", async () => {
    const { post, fetch } = chat(backend);
    backend.faults.push(...Array(20).fill(resetting));
    vi.stubGlobal("navigator", { onLine: false });
    try {
      const asked = post("threads.create");
      await until("it was tried more often than it is with a network", () => backend.asked.length > 10);
      expect(fetch.connection.state).toBe("offline");
      vi.unstubAllGlobals();
      backend.faults.length = 0;
      expect(await entriesOf(await asked)).toEqual(backend.entries);
    } finally {
      vi.unstubAllGlobals();
    }
  });

  it("speaks the site's own words where it has some", async () => {
    backend.faults.push(refusing(409, "thread_busy"));
    const { post } = chat(backend, { messages: { thread_busy: "Bitte warten." } });
    expect((await errorOf(await post("threads.create"))).message).toBe("Bitte warten.");
  });

  it("goes on without what the site's hooks could not say", async () => {
    const hurt = () => {
      throw new Error("a hook of the site");
    };
    const reported: unknown[] = [];
    const original = console.error;
    console.error = (error) => reported.push(error);
    try {
      const { post } = chat(backend, { metadata: hurt, onTelemetry: hurt });
      expect(await entriesOf(await post("threads.create"))).toEqual(backend.entries);
    } finally {
      console.error = original;
    }
    expect(reported.length).toBeGreaterThan(1);
  });

  it("is told to be not sent where the site's headers cannot be made", async () => {
    const original = console.error;
    console.error = () => {};
    try {
      const headers = () => {
        throw new Error("a hook of the site");
      };
      expect((await errorOf(await chat(backend, { headers }).post("threads.create"))).message).toMatch(/not sent/);
    } finally {
      console.error = original;
    }
    expect(backend.asked).toEqual([]);
  });

  it("is answered by a server without runs as that answers it", async () => {
    backend.faults.push((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" }).end('data: {"type":"error"}\n\n: odd');
    });
    const response = await chat(backend).post("threads.create");
    expect(await response.text()).toBe('data: {"type":"error"}\n\n: odd');
  });

  it("may come as a Request", async () => {
    const { fetch } = chat(backend, { metadata: () => ({ a: 1 }) });
    const request = new Request(`${backend.url}/chatkit`, { method: "POST", body: '{"type":"threads.create"}' });
    expect(await entriesOf(await fetch(request))).toEqual(backend.entries);
    expect(JSON.parse(backend.asked[0]?.body ?? "").metadata).toEqual({ a: 1 });
  });
});

describe("a request that is answered with JSON", () => {
  it("is sent again where that does no harm", async () => {
    backend.faults.push(resetting, html, refusing(502, "x"));
    const response = await chat(backend).post("threads.list");
    expect(await response.json()).toEqual({ data: [] });
  });

  it("is sent again where its answer was cut", async () => {
    backend.faults.push((response) => {
      response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
      response.write('{"data": [');
      setTimeout(() => response.destroy(), 20);
    });
    expect(await (await chat(backend).post("threads.list")).json()).toEqual({ data: [] });
  });

  it("is never answered with what makes the widget send it again", async () => {
    backend.faults.push(refusing(500, "internal"));
    const response = await chat(backend).post("items.feedback");
    expect(response.status).toBe(400);
    expect((await response.json()).error.code).toBe("internal");
  });

  it("is not sent again where the site's code may have run", async () => {
    backend.faults.push(resetting);
    await expect(chat(backend).post("items.feedback")).rejects.toThrow(TypeError);
    expect(backend.asked).toHaveLength(1);
  });

  it("is sent again where the site's code has not run", async () => {
    backend.faults.push(refusing(503, "stopping"), (response) => json(response, 200, {}));
    expect((await chat(backend).post("items.feedback")).status).toBe(200);
  });

  it("has deleted what a second try cannot find", async () => {
    backend.faults.push(resetting, refusing(404, "thread_not_found"), refusing(404, "thread_not_found"));
    const { post } = chat(backend);
    expect((await post("threads.delete")).status).toBe(200);
    expect((await post("threads.delete")).status).toBe(404);
  });

  it("is refused with the server's status and code", async () => {
    backend.faults.push(refusing(404, "thread_not_found"));
    const response = await chat(backend).post("threads.get_by_id");
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({ error: { code: "thread_not_found", message: "said thread_not_found" } });
  });

  it("ends with its signal", async () => {
    backend.faults.push(() => {});
    const aborting = new AbortController();
    const asked = chat(backend).post("threads.list", {}, { signal: aborting.signal });
    await until("it was asked", () => backend.asked.length === 1);
    aborting.abort();
    await expect(asked).rejects.toThrow("abort");
    expect(backend.asked).toHaveLength(1);
  });
});
