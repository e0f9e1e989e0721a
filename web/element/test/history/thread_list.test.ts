import { describe, expect, it } from "vitest";
import { ThreadList } from "../../src/history/thread_list.js";
import type { Page, Thread } from "../../src/server/protocol.js";

const thread = (id: string, title: string | null = null): Thread => ({ id, title });
const page = (ids: readonly string[], after: string | null = null): Page<Thread> => ({
  data: ids.map((id) => thread(id)),
  has_more: after !== null,
  after,
});
const ids = (list: ThreadList) => list.threads.map(({ id }) => id);

function loaded(...pages: readonly Page<Thread>[]): ThreadList {
  const list = new ThreadList();
  for (const [at, each] of pages.entries()) {
    if (at === 0) list.loadNewest(each, list.ticket());
    else list.loadOlder(each, list.after ?? "", list.ticket());
  }
  return list;
}

describe("the list of threads", () => {
  it("keeps a newer page against one that was asked for before it and comes later", () => {
    const list = new ThreadList();
    const [first, second] = [list.ticket(), list.ticket()];
    list.loadNewest(page(["b", "a"]), second);
    list.loadNewest(page([]), first);
    expect(ids(list)).toEqual(["b", "a"]);
  });

  it("keeps a thread of this page against a list that was asked for before it began", () => {
    const list = new ThreadList();
    const ticket = list.ticket();
    list.put(thread("new", "Mine"));
    list.loadNewest(page(["b", "a"]), ticket);
    expect(ids(list)).toEqual(["new", "b", "a"]);
    list.loadNewest({ data: [thread("new"), thread("b")] }, list.ticket());
    expect(list.threads).toEqual([thread("new"), thread("b")]);
  });

  it("leaves a deleted thread out of a list that was asked for before", () => {
    const list = loaded(page(["b", "a"]));
    const ticket = list.ticket();
    list.remove("b");
    list.loadNewest(page(["b", "a"]), ticket);
    expect(ids(list)).toEqual(["a"]);
  });

  it("keeps a title that was given after the list was asked for", () => {
    const list = loaded(page(["a"]));
    const ticket = list.ticket();
    list.put(thread("a", "Renamed"));
    list.loadNewest(page(["a"]), ticket);
    expect(list.find("a")?.title).toBe("Renamed");
  });

  it("keeps the threads that were loaded page by page, and where the list goes on", () => {
    const list = loaded(page(["d", "c"], "c"), page(["b", "a"], "a"));
    list.loadNewest(page(["e", "d"], "d"), list.ticket());
    expect(ids(list)).toEqual(["e", "d", "c", "b", "a"]);
    expect(list.after).toBe("a");
  });

  it("takes a thread to where it stands by now", () => {
    const list = loaded(page(["d", "c"], "c"), page(["b", "a"], "a"));
    list.loadNewest(page(["a", "d"], "d"), list.ticket());
    expect(ids(list)).toEqual(["a", "d", "c", "b"]);
  });

  it("drops what was deleted elsewhere, and what a page no longer reaches to", () => {
    const list = loaded(page(["d", "c"], "c"), page(["b", "a"]));
    list.loadNewest(page(["d", "b"], "b"), list.ticket());
    expect(ids(list)).toEqual(["d", "b", "a"]);
    list.loadNewest(page(["z", "y"], "y"), list.ticket());
    expect(ids(list)).toEqual(["z", "y"]);
    expect(list.after).toBe("y");
    list.loadNewest(page(["z"]), list.ticket());
    expect(ids(list)).toEqual(["z"]);
    expect(list.after).toBeNull();
  });

  it("goes on behind its last thread where the one of its cursor is deleted", () => {
    const list = loaded(page(["c", "b"], "b"));
    list.remove("b");
    expect(list.after).toBe("c");
    list.remove("c");
    expect(list.after).toBeNull();
  });

  it("takes no page that was asked for behind another cursor", () => {
    const list = loaded(page(["c", "b"], "b"));
    list.clear();
    list.loadOlder(page(["a"]), "b", list.ticket());
    expect(ids(list)).toEqual([]);
  });

  it("puts a thread first to which a message was sent, where the server lists by activity", () => {
    const list = loaded(page(["b", "a"]));
    list.used("a", new Date(0));
    expect(ids(list)).toEqual(["b", "a"]);
    const active = { active_at: "2026-01-01T00:00:00Z" };
    list.loadNewest(
      {
        data: [
          { ...thread("b"), ...active },
          { ...thread("a"), ...active },
        ],
      },
      list.ticket(),
    );
    list.used("a", new Date(0));
    expect(ids(list)).toEqual(["a", "b"]);
    expect(list.find("a")?.active_at).toBe("1970-01-01T00:00:00.000Z");
    list.put(thread("a", "Titled"));
    expect(list.find("a")).toEqual({ ...thread("a", "Titled"), active_at: "1970-01-01T00:00:00.000Z" });
    list.used("unknown", new Date(0));
    expect(ids(list)).toEqual(["a", "b"]);
  });

  it("skips what is no thread", () => {
    const list = new ThreadList();
    list.loadNewest({ data: [null, { id: 7 }, { id: "a", title: 7 }] as unknown as Thread[] }, list.ticket());
    expect(list.threads).toEqual([{ id: "a", title: null }]);
  });

  it("is loaded once a page has come", () => {
    const list = new ThreadList();
    list.put(thread("a"));
    expect(list.isLoaded).toBe(false);
    list.loadNewest(page([]), list.ticket());
    expect(list.isLoaded).toBe(true);
  });
});
