import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RunWatch } from "../../src/history/run_watch.js";
import type { Api } from "../../src/server/api.js";

let told: string[];
let watch: RunWatch;
const isResponding = vi.fn<Api["isResponding"]>();

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  isResponding.mockReset().mockResolvedValue(true);
  const listeners = {
    ended: (threadId: string) => void told.push(`ended ${threadId}`),
    dropped: (threadId: string) => void told.push(`dropped ${threadId}`),
  };
  watch = new RunWatch({ isResponding } as unknown as Api, listeners, new AbortController().signal);
});
afterEach(() => void vi.useRealTimers());

describe("the watch over runs", () => {
  it("says of the oldest of too many threads that it is not watched any more, and not that its run has ended", () => {
    for (let number = 1; number <= 9; number += 1) watch.add(`thr_${number}`);
    expect(told).toEqual(["dropped thr_1"]);
  });

  it("goes on with the next thread after an error that nobody expects", async () => {
    const failed = new Promise((resolve) => process.once("unhandledRejection", resolve));
    isResponding.mockRejectedValueOnce(new SyntaxError("no JSON"));
    watch.add("thr_1");
    await vi.advanceTimersToNextTimerAsync();
    vi.useRealTimers();
    await failed;
    vi.useFakeTimers();
    isResponding.mockResolvedValue(false);
    watch.add("thr_2");
    await vi.advanceTimersToNextTimerAsync();
    expect(told).toEqual(["ended thr_1", "ended thr_2"]);
  });
});
