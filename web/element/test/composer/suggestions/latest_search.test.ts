import { describe, expect, it } from "vitest";
import { LatestSearch } from "../../../src/composer/suggestions/latest_search.js";

function heard() {
  const said: string[] = [];
  const search = new LatestSearch<string>(
    (found) => said.push(found),
    (error) => said.push(`failed: ${String(error)}`),
  );
  return { said, search };
}

function deferred() {
  let resolve: (found: string) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<string>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}

describe("a search as it is typed", () => {
  it("hears the latest only, in whatever order the answers come", async () => {
    const { said, search } = heard();
    const first = deferred();
    const second = deferred();
    const asking = [search.ask(() => first.promise), search.ask(() => second.promise)];
    second.resolve("second");
    await asking[1];
    expect(search.isAsking).toBe(false);
    first.resolve("first");
    await asking[0];
    expect(said).toEqual(["second"]);
  });

  it("tells of a failure, but not of an earlier one", async () => {
    const { said, search } = heard();
    const first = deferred();
    const asking = search.ask(() => first.promise);
    await search.ask(() => {
      throw "now";
    });
    first.reject("late");
    await asking;
    expect(said).toEqual(["failed: now"]);
  });

  it("does not begin what another one follows at once", async () => {
    const { said, search } = heard();
    const begun: string[] = [];
    const ask = (query: string) =>
      search.ask(async () => {
        begun.push(query);
        return query;
      }, 20);
    const asking = [ask("a"), ask("ad"), ask("ada")];
    expect(search.isAsking).toBe(true);
    await Promise.all(asking);
    expect([begun, said]).toEqual([["ada"], ["ada"]]);
  });

  it("hears nothing of what was dropped", async () => {
    const { said, search } = heard();
    const asking = search.ask(async () => "late");
    search.drop();
    await asking;
    expect([said, search.isAsking]).toEqual([[], false]);
  });
});
