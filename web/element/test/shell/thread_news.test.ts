import { describe, expect, it, vi } from "vitest";
import { ThreadNews, type ThreadNewsHost } from "../../src/shell/thread_news.js";

/** The news of a chat whose list has these threads, and what was done, in its order. */
function newsOf(open: string | null, listed: readonly string[], later: readonly string[] = []) {
  const done: string[] = [];
  let names = listed;
  const history = {
    nameOf: (threadId: string) => (names.includes(threadId) ? "A name" : null),
    refresh: async () => {
      done.push("refresh");
      names = [...listed, ...later];
    },
    used: () => {},
    watch: (threadId: string) => void done.push(`watch ${threadId}`),
    remove: (threadId: string) => void done.push(`remove ${threadId}`),
  };
  const news: ThreadNews = new ThreadNews({
    history,
    tabs: { post: () => {} },
    threadId: () => open,
    forgetDraft: (threadId: string) => void done.push(`forget draft of ${threadId}`),
    // The open thread is answering.
    leaveThread: () => news.leftRunning(open ?? ""),
  } as unknown as ThreadNewsHost);
  return { news, done };
}

describe("the news of threads", () => {
  it("watches a run of another tab in a thread of the list, at once or once the list is loaded", async () => {
    const { news, done } = newsOf(null, ["old"], ["new"]);
    news.onTabMessage({ type: "run", threadId: "old", runId: "run_1" });
    expect(done).toEqual(["watch old"]);
    news.onTabMessage({ type: "run", threadId: "new", runId: "run_2" });
    await vi.waitFor(() => expect(done).toEqual(["watch old", "refresh", "watch new"]));
  });

  it("passes over a run of another tab in which another user is signed in", async () => {
    const { news, done } = newsOf(null, ["mine"]);
    news.onTabMessage({ type: "run", threadId: "another user's", runId: "run_1" });
    await new Promise((resolve) => setTimeout(resolve));
    expect(done).toEqual(["refresh"]);
  });

  it("does not watch a thread that was deleted while it answers, here or in another tab", () => {
    const { news, done } = newsOf("thr_1", ["thr_1"]);
    news.deleted("thr_1");
    expect(done).toEqual(["watch thr_1", "remove thr_1", "forget draft of thr_1"]);
    const other = newsOf("thr_1", ["thr_1"]);
    other.news.onTabMessage({ type: "deleted", threadId: "thr_1" });
    expect(other.done).toEqual(["watch thr_1", "remove thr_1", "forget draft of thr_1"]);
  });
});
