import { beforeEach, describe, expect, it, vi } from "vitest";
import { callClientTool, forgetResult } from "../../src/commands/client_tools.js";
import type { ClientToolCall, StreamEvent } from "../../src/server/protocol.js";
import { AwaitedCall } from "../../src/thread/awaited_call.js";
import { Run } from "../../src/thread/run.js";

const CALL: ClientToolCall = {
  id: "call-1",
  type: "client_tool_call",
  status: "pending",
  call_id: "c",
  name: "ask",
  arguments: { topic: "x" },
  created_at: "2026-01-01T00:00:00Z",
  thread_id: "thread-1",
} as ClientToolCall;

const never = () => new Promise<Record<string, unknown>>(() => {});
const awaited = (secondsLeft: number | null = 60) => new AwaitedCall(CALL.id, "run-1", "started", secondsLeft);

beforeEach(() => {
  const kept = new Map<string, string>();
  vi.stubGlobal("sessionStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
});

describe("a client tool", () => {
  it("gives its result, which is kept until the server has it", async () => {
    const tool = vi.fn(async () => ({ page: 1 }));
    expect(await callClientTool(CALL, tool, awaited())).toEqual({ page: 1 });
    expect(await callClientTool(CALL, tool, awaited())).toEqual({ page: 1 });
    expect(tool).toHaveBeenCalledOnce();
    expect(tool).toHaveBeenCalledWith({ name: "ask", params: { topic: "x" } });
    forgetResult(CALL);
    await callClientTool(CALL, tool, awaited());
    expect(tool).toHaveBeenCalledTimes(2);
  });

  it("that throws, at once or later, answers with an error", async () => {
    const error = { error: "The tool ask failed: no" };
    const throwing = () => {
      throw new Error("no");
    };
    expect(await callClientTool(CALL, throwing, awaited())).toEqual(error);
    forgetResult(CALL);
    expect(await callClientTool(CALL, () => Promise.reject(new Error("no")), awaited())).toEqual(error);
  });

  it("that does not come back answers with an error before the server gives it up", async () => {
    vi.useFakeTimers();
    try {
      const answered = callClientTool(CALL, never, awaited(10));
      await vi.advanceTimersByTimeAsync(8_999);
      await expect(Promise.race([answered, Promise.resolve("still waiting")])).resolves.toBe("still waiting");
      await vi.advanceTimersByTimeAsync(1);
      expect(await answered).toEqual({ error: "The tool ask did not come back within 9 seconds." });
    } finally {
      vi.useRealTimers();
    }
  });

  it("whose call nobody awaits any more gives nothing, and nothing is kept", async () => {
    const call = awaited();
    const answered = callClientTool(CALL, never, call);
    call.end();
    await expect(answered).rejects.toThrow("not awaited");
    await expect(callClientTool(CALL, never, call)).rejects.toThrow("not awaited");
    expect(await callClientTool(CALL, async () => ({ page: 2 }), awaited())).toEqual({ page: 2 });
  });
});

describe("a run", () => {
  const done = (item: object): StreamEvent => ({ type: "thread.item.done", item }) as StreamEvent;
  const message = { id: "m", type: "assistant_message", content: [] };

  it("has ended with a client tool call where that is its last whole item", () => {
    const run = new Run("run-1", false);
    run.observe(done(message));
    expect(run.pendingCall).toBeNull();
    run.observe(done(CALL));
    expect(run.pendingCall).toBe("call-1");
    run.observe({ type: "progress_update", text: "x" } as StreamEvent);
    expect(run.pendingCall).toBe("call-1");
    run.observe(done(message));
    expect(run.pendingCall).toBeNull();
  });

  it("has not where the call is completed", () => {
    const run = new Run("run-1", false);
    run.observe(done(CALL));
    run.observe({ type: "thread.item.replaced", item: { ...CALL, status: "completed" } } as unknown as StreamEvent);
    expect(run.pendingCall).toBeNull();
  });
});
