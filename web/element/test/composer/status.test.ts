import { describe, expect, it } from "vitest";
import { composerState, stoppable } from "../../src/composer/status.js";
import { ENGLISH } from "../../src/texts/index.js";

const run = (allowCancel: boolean, isStopping = false) => ({ allowCancel, isStopping });
const ACTIVE = { type: "active" } as const;

describe("stoppable", () => {
  it("is the awaited call alone, where there is one", () => {
    const awaited = { isStopping: false };
    expect(stoppable({ awaited, runs: new Set([run(true)]) })).toEqual([awaited]);
  });

  it("is else each run that allows a Stop", () => {
    const allowed = run(true);
    expect(stoppable({ awaited: null, runs: new Set([run(false), allowed]) })).toEqual([allowed]);
  });
});

describe("composerState", () => {
  it("says why a thread that is not active takes no message, in the server's words where it has some", () => {
    const turn = { awaited: null, runs: new Set([]) };
    expect(composerState({ type: "locked", reason: "A review." }, turn, ENGLISH).blocked).toBe("A review.");
    expect(composerState({ type: "closed" }, turn, ENGLISH).blocked).toBe(ENGLISH.shell.closed);
    expect(composerState(ACTIVE, turn, ENGLISH).blocked).toBeNull();
  });

  it("is stopping once every run that can be stopped is", () => {
    const runs = new Set([run(true, true), run(true)]);
    expect(composerState(ACTIVE, { awaited: null, runs }, ENGLISH)).toMatchObject({ canStop: true, isStopping: false });
    for (const each of runs) each.isStopping = true;
    expect(composerState(ACTIVE, { awaited: null, runs }, ENGLISH).isStopping).toBe(true);
    const none = { awaited: null, runs: new Set([run(false, true)]) };
    expect(composerState(ACTIVE, none, ENGLISH)).toMatchObject({ canStop: false, isStopping: false });
  });
});
