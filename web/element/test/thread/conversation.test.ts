import { describe, expect, it, vi } from "vitest";
import { Conversation } from "../../src/conversation.js";
import { type Api, ApiError } from "../../src/server/api.js";
import type { MarkedRun, Marks, ThreadItem } from "../../src/server/protocol.js";
import type { ConversationEvents } from "../../src/thread/events.js";

const message = (id: string): ThreadItem => ({ type: "user_message", id, content: [] });
const answer = (id: string): ThreadItem => ({
  type: "assistant_message",
  id,
  content: [{ type: "output_text", text: "Well." }],
});
const run = (id: string, changes: Partial<MarkedRun>): MarkedRun => ({
  id,
  kind: "threads.add_user_message",
  status: "failed",
  error: "stream.error",
  item_id: null,
  last_item_ids: [],
  ...changes,
});
const THREAD = { id: "thr_1", title: "A title", created_at: "2026-01-01T00:00:00Z" };
/** Lets all that is ready go on. */
const soon = () => new Promise((resolve) => setTimeout(resolve, 0));

/** A server with a thread of these items, the newest last, and how its requests are answered. */
class Server {
  items: ThreadItem[] = [message("m1")];
  active: string | null = null;
  marks: () => Promise<Marks | null> = async () => ({ runs: [], feedback: {} });
  failing: string | null = null;
  /** The ids of the runs whose answers were cancelled. */
  readonly cancelled: string[] = [];
  /** Writes into the answers of the runs. */
  readonly writers = new Map<string, ReadableStreamDefaultController<Uint8Array>>();

  readonly api = {
    isOurs: false,
    hasMarks: true,
    call: async (type: string) => {
      if (type === this.failing) throw new ApiError(500, "internal", "It has failed.");
      return type === "items.list" ? { data: [...this.items].reverse(), has_more: false } : THREAD;
    },
    marks: () => this.marks(),
    activity: async () => ({ run: this.active === null ? null : this.#answerOf(this.active), awaits: null }),
  } as unknown as Api;

  #answerOf(runId: string) {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => void this.writers.set(runId, controller),
      cancel: () => void this.cancelled.push(runId),
    });
    return { runId, isFollowed: false, response: new Response(body), stop: async () => {} };
  }
}

function opened(server: Server) {
  const heard = new Proxy({} as Record<string, ReturnType<typeof vi.fn>>, {
    get: (told, name: string) => {
      told[name] ??= vi.fn();
      return told[name];
    },
  });
  return { conversation: new Conversation(server.api, heard as unknown as ConversationEvents), heard };
}

const idsOf = ({ state }: Conversation) => [...state.items.keys()];

describe("a thread that is opened", () => {
  it("does not wait for its marks, which are shown once they come", async () => {
    const server = new Server();
    let come: (marks: Marks) => void = () => {};
    server.marks = () => new Promise((resolve) => (come = resolve));
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    expect(conversation.opening).toBeNull();
    expect(idsOf(conversation)).toEqual(["m1", "unanswered:m1"]);
    come({ runs: [run("run_1", { item_id: "m1" })], feedback: {} });
    await soon();
    expect(idsOf(conversation)).toEqual(["m1", "error:run_1"]);
  });

  it("shows no marks of a thread that was left", async () => {
    const server = new Server();
    let come: (marks: Marks) => void = () => {};
    server.marks = () => new Promise((resolve) => (come = resolve));
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    conversation.clear();
    come({ runs: [], feedback: { m1: "positive" } });
    await soon();
    expect(conversation.state.feedback.size).toBe(0);
  });

  it("takes nothing for waiting that only late marks call so", async () => {
    const server = new Server();
    let come: (marks: Marks) => void = () => {};
    server.marks = () => new Promise((resolve) => (come = resolve));
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    come({ runs: [run("run_1", { status: "waiting", item_id: "m1" })], feedback: {} });
    await soon();
    expect(conversation.state.items.get("m1")).toEqual(message("m1"));
  });

  it("is told once as opened", async () => {
    const { conversation, heard } = opened(new Server());
    await conversation.open("thr_1");
    // Left the one before, is being loaded, is open.
    expect(heard.threadChanged).toHaveBeenCalledTimes(3);
  });

  it.each(["threads.get_by_id", "items.list"])("leaves no answer unread where %s fails", async (failing) => {
    const server = new Server();
    server.active = "run_1";
    server.failing = failing;
    const { conversation } = opened(server);
    await expect(conversation.open("thr_1")).rejects.toThrow("It has failed.");
    expect(server.cancelled).toEqual(["run_1"]);
  });

  it("leaves no answer unread where coming back to it fails", async () => {
    const server = new Server();
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    server.active = "run_1";
    server.failing = "items.list";
    await expect(conversation.sync()).rejects.toThrow("It has failed.");
    expect(server.cancelled).toEqual(["run_1"]);
  });
});

describe("a thread that is loaded again while an answer comes", () => {
  it("has the messages of other tabs that wait, and what the page knows better stays", async () => {
    const server = new Server();
    server.active = "run_1";
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    conversation.change((state) => state.put({ id: "error:run_1", type: "error", canRetry: true, again: null }));
    server.items = [message("m1"), message("m2")];
    server.marks = async () => ({
      runs: [run("run_1", { status: "waiting", item_id: "m1" }), run("run_2", { status: "waiting", item_id: "m2" })],
      feedback: {},
    });
    await conversation.refresh();
    await soon();
    expect(conversation.state.items.get("m1")).toEqual(message("m1"));
    expect(conversation.state.items.get("m2")).toMatchObject({ waiting: "run_2" });
    server.marks = async () => ({ runs: [], feedback: {} });
    await conversation.refresh();
    await soon();
    expect(idsOf(conversation)).toContain("error:run_1");
    conversation.clear();
  });

  it("shows the marks that were asked for last", async () => {
    const server = new Server();
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    const coming: ((marks: Marks) => void)[] = [];
    server.marks = () => new Promise((resolve) => coming.push(resolve));
    await conversation.refresh();
    await conversation.refresh();
    const [first, second] = coming;
    second?.({ runs: [], feedback: { m1: "positive" } });
    first?.({ runs: [], feedback: { m1: "negative" } });
    await soon();
    expect(conversation.state.feedback.get("m1")).toBe("positive");
  });
});

describe("a run that has failed", () => {
  const send = (server: Server, runId: string, ...events: object[]) => {
    const text = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
    server.writers.get(runId)?.enqueue(new TextEncoder().encode(text));
  };

  it("says so before the messages that wait, also where nothing of it is left", async () => {
    const server = new Server();
    server.active = "run_1";
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    send(server, "run_1", { type: "thread.item.added", item: { ...answer("a1"), content: [] } });
    await soon();
    conversation.change((state) => {
      state.apply({ type: "thread.item.done", item: message("m2") });
      state.waiting.set("m2", "run_2");
    });
    expect(idsOf(conversation)).toEqual(["m1", "a1", "m2"]);
    server.marks = async () => null;
    server.items = [message("m1"), message("m2")];
    server.active = "run_2";
    server.writers.get("run_1")?.enqueue(new TextEncoder().encode(": end failed\n\n"));
    server.writers.get("run_1")?.close();
    await soon();
    await soon();
    expect(idsOf(conversation)).toEqual(["m1", "error:run_1", "m2"]);
    conversation.clear();
  });

  it("has its notices before the messages that wait", async () => {
    const server = new Server();
    server.active = "run_1";
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    conversation.change((state) => {
      state.apply({ type: "thread.item.done", item: message("m2") });
      state.waiting.set("m2", "run_2");
    });
    const notice = { type: "notice", level: "info", message: "Slowly." };
    send(server, "run_1", notice, { ...notice, message: "More." }, { type: "error", message: "No." });
    await soon();
    const types = [...conversation.state.items.values()].map(({ type }) => type);
    expect(types).toEqual(["user_message", "notice", "notice", "error", "user_message"]);
    conversation.clear();
  });

  it("looks for what waits with those events alone that may change it", async () => {
    const server = new Server();
    server.active = "run_1";
    const { conversation } = opened(server);
    await conversation.open("thr_1");
    const looked = vi.spyOn(conversation.state, "markWaiting");
    send(server, "run_1", { type: "thread.item.added", item: { ...answer("a1"), content: [] } });
    await soon();
    expect(looked).toHaveBeenCalledTimes(2);
    const update = { type: "assistant_message.content_part.text_delta", content_index: 0, delta: "a" };
    send(server, "run_1", ...Array(50).fill({ type: "thread.item.updated", item_id: "a1", update }));
    await soon();
    expect(looked).toHaveBeenCalledTimes(2);
    conversation.clear();
  });
});
