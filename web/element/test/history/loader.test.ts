import { describe, expect, it } from "vitest";
import { MAX_SEARCH_PAGES, ThreadLoader } from "../../src/history/loader.js";
import type { Api } from "../../src/server/api.js";
import type { Page, Thread } from "../../src/server/protocol.js";
import type { Announcer } from "../../src/ui/announcer.js";

/** A loader whose server gives these answers. It counts the requests. */
function loaderOf(answer: (asked: number) => unknown): { loader: ThreadLoader; asked: () => number } {
  let asked = 0;
  const api = {
    call: async () => {
      asked += 1;
      return answer(asked);
    },
  } as unknown as Api;
  const loader = new ThreadLoader({
    api,
    announcer: {} as Announcer,
    failed: () => {},
    changed: () => {},
    signal: new AbortController().signal,
  });
  return { loader, asked: () => asked };
}

const page = (id: string, after: string | null): Page<Thread> => ({
  data: [{ id, title: null }],
  has_more: after !== null,
  after,
});

describe("the loader of the list", () => {
  it("loads again after an answer that is no list", async () => {
    const { loader } = loaderOf((asked) => (asked === 1 ? {} : page("a", null)));
    await expect(loader.refresh()).rejects.toThrow(TypeError);
    await loader.refresh();
    expect(loader.list.threads.map(({ id }) => id)).toEqual(["a"]);
    expect(loader.list.isLoaded).toBe(true);
  });

  it("ends a search for what is not there, however long the list is", async () => {
    const { loader, asked } = loaderOf((number) => page(`t${number}`, `t${number}`));
    await loader.refresh();
    await loader.searchOlder(() => false);
    expect(asked()).toBe(1 + MAX_SEARCH_PAGES);
    await loader.searchOlder(() => loader.list.threads.length > MAX_SEARCH_PAGES + 2);
    expect(asked()).toBe(1 + MAX_SEARCH_PAGES + 2);
  });

  it("takes a page that leads back to itself for the last one", async () => {
    const { loader, asked } = loaderOf(() => page("a", "a"));
    await loader.refresh();
    await loader.searchOlder(() => false);
    expect(asked()).toBe(2);
    expect(loader.list.after).toBeNull();
  });
});
