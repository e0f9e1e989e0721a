import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CODE_HEADER } from "../src/index.js";
import { expiry, Tokens } from "../src/tokens.js";
import { answer, Backend, refusing } from "./backend.js";
import { chat, entriesOf, errorOf, jwt, until } from "./chat.js";

let backend: Backend;
beforeEach(async () => {
  backend = await Backend.start();
  backend.entries = answer(3);
});
afterEach(() => backend.stop());

describe("the token", () => {
  it("is asked for again when the server refuses it, and only then", async () => {
    const asked: (string | null)[] = [];
    const tokens = [jwt(600, "old"), jwt(600, "new")];
    backend.token = tokens[1] ?? null;
    const { post } = chat(backend, {
      getToken: ({ refused }) => {
        asked.push(refused);
        return tokens[asked.length - 1] ?? null;
      },
    });
    await entriesOf(await post("threads.create"));
    await post("threads.list");
    expect(asked).toEqual([null, tokens[0]]);
  });

  it("that ends in mid-answer is replaced, and the answer goes on", async () => {
    backend.end = null;
    backend.token = "one";
    let current = "one";
    const { post } = chat(backend, { getToken: () => current });
    const entries = entriesOf(await post("threads.create"));
    current = "two";
    backend.token = "two";
    backend.cut();
    await until("the client is back", () => backend.paths("GET").length > 0);
    backend.finish("completed");
    expect(await entries).toEqual(backend.entries);
  });

  it("is none: nothing is sent, and the page is told", async () => {
    const told: true[] = [];
    const { post } = chat(backend, { getToken: () => null, onSignInRequired: () => void told.push(true) });
    expect((await errorOf(await post("threads.create"))).message).toMatch(/signed out/);
    expect((await post("threads.list")).status).toBe(401);
    expect(backend.asked).toEqual([]);
    expect(told).toHaveLength(2);
  });

  it("that is refused twice ends it", async () => {
    backend.token = "right";
    const { post } = chat(backend, { getToken: () => "wrong" });
    expect((await errorOf(await post("threads.create"))).message).toMatch(/signed out/);
    expect(backend.asked).toHaveLength(2);
  });

  it("that cannot be fetched for a moment is asked for again", async () => {
    let asked = 0;
    const { post } = chat(backend, {
      getToken: () => {
        asked += 1;
        if (asked < 3) throw new TypeError("the issuer is away");
        return "fine";
      },
    });
    expect(await entriesOf(await post("threads.create"))).toEqual(backend.entries);
  });

  it("that cannot be fetched at all is said at once, and at the end as what it is", async () => {
    const { fetch, post } = chat(backend, { getToken: () => Promise.reject(new TypeError("the issuer is away")) });
    const states: string[] = [];
    fetch.connection.subscribe(() => states.push(fetch.connection.state));
    const response = await post("threads.create");
    expect(response.headers.get(CODE_HEADER)).toBe("no_token");
    expect((await errorOf(response)).message).toMatch(/sign-in could not be renewed/);
    expect(states).toEqual(["connecting", "signing_in", "idle"]);
    expect(backend.asked).toEqual([]);
  });

  it("goes with a call of an endpoint beside ChatKit's", async () => {
    backend.token = "fine";
    backend.faults.push((response) => {
      response.writeHead(200, { "content-type": "application/json" }).end('{"runs":[]}');
    });
    const { fetch } = chat(backend, { getToken: () => "fine" });
    expect(await fetch.call("threads/thread-1/marks")).toEqual({ runs: [] });
    expect(backend.paths("GET")).toEqual(["/threads/thread-1/marks"]);
    backend.faults.push(refusing(404, "not_found"));
    await expect(fetch.call("threads/thread-1/marks")).rejects.toThrow("said not_found");
  });

  it("goes to no other origin, and to our own", async () => {
    const other = await Backend.start();
    const { fetch } = chat(backend, { getToken: () => "secret", headers: { "x-site": "shop" } });
    try {
      await fetch(`${other.url}/upload`, { method: "PUT", body: "bytes" });
      await fetch(`${backend.url}/attachments/1`, {
        method: "PUT",
        body: "bytes",
        headers: { "content-type": "image/png" },
      });
    } finally {
      await other.stop();
    }
    expect(other.asked[0]?.headers).not.toHaveProperty("authorization");
    expect(other.asked[0]?.headers).not.toHaveProperty("x-site");
    expect(backend.asked[0]?.headers).toMatchObject({ authorization: "Bearer secret", "content-type": "image/png" });
    expect(backend.asked[0]?.body).toBe("bytes");
  });

  it("does not follow an upload's redirect", async () => {
    const other = await Backend.start();
    backend.faults.push((response) => void response.writeHead(307, { location: `${other.url}/upload` }).end());
    const { fetch } = chat(backend, { headers: { "x-key": "secret" } });
    try {
      await expect(fetch(`${backend.url}/upload`, { method: "PUT", body: "bytes" })).rejects.toThrow(TypeError);
    } finally {
      await other.stop();
    }
    expect(other.asked).toEqual([]);
  });

  it("does not follow a redirect", async () => {
    const other = await Backend.start();
    backend.faults.push((response) => void response.writeHead(307, { location: `${other.url}/chatkit` }).end());
    const told: true[] = [];
    const { post } = chat(backend, { getToken: () => "secret", onSignInRequired: () => void told.push(true) });
    try {
      expect((await errorOf(await post("threads.create"))).message).toMatch(/sign in again/);
    } finally {
      await other.stop();
    }
    expect(other.asked).toEqual([]);
    expect(told).toHaveLength(1);
  });
});

describe("Tokens", () => {
  it("keeps a JWT until shortly before its end, and nothing else", async () => {
    let now = Date.now();
    let asked = 0;
    const tokens = new Tokens(
      () => {
        asked += 1;
        return asked < 3 ? jwt(600 + (now - Date.now()) / 1000) : "opaque";
      },
      1_000,
      () => now,
    );
    await tokens.current();
    now += 560_000;
    await tokens.current();
    expect(asked).toBe(1);
    now += 20_000;
    await tokens.current();
    expect(asked).toBe(2);
    now += 600_000;
    await tokens.current();
    await tokens.current();
    expect(asked).toBe(4);
  });

  it("asks once for all who wait", async () => {
    let asked = 0;
    const tokens = new Tokens(async () => {
      asked += 1;
      return jwt(600);
    });
    const [first] = await Promise.all([tokens.current(), tokens.current(), tokens.after(null)]);
    expect(asked).toBe(1);
    const [second, third] = await Promise.all([tokens.after(first ?? null), tokens.after(first ?? null)]);
    expect(second).toBe(third);
    expect(asked).toBe(2);
  });

  it("asks again where who asked already did not know of the refusal", async () => {
    let renewed = "old";
    const given: (() => void)[] = [];
    const tokens = new Tokens(async ({ refused }) => {
      await new Promise<void>((resolve) => given.push(resolve));
      if (refused !== null) renewed = "new";
      return renewed;
    });
    const current = tokens.current();
    const after = [tokens.after("old"), tokens.after("old")];
    given[0]?.();
    expect(await current).toBe("old");
    await until("it is asked once more", () => given.length === 2);
    given[1]?.();
    expect(await Promise.all(after)).toEqual(["new", "new"]);
  });

  it("waits for the site's answer no longer than it may take", async () => {
    const tokens = new Tokens(() => new Promise(() => {}), 20);
    await expect(tokens.current()).rejects.toThrow("too long");
    await expect(tokens.current()).rejects.toThrow("too long");
  });

  it("gives nobody the token of who was signed in before", async () => {
    let name = "ada";
    const tokens = new Tokens(() => jwt(600, name));
    const before = await tokens.current();
    name = "bob";
    tokens.forget();
    expect(await tokens.current()).not.toBe(before);
  });

  it.each(["", "a.b", "a.b.c", "..", "opaque", `a.${btoa('{"exp":"soon"}')}.c`, `a.${btoa("null")}.c`])(
    "knows no end of %j",
    (token) => {
      expect(expiry(token)).toBeNull();
    },
  );
});
