import { expect, it } from "vitest";
import { endOf, isEnded } from "../src/run_status.js";

it("reads a run's end from the comment of its stream, and from nothing like it", () => {
  expect(["end completed", "end failed", "end cancelled"].map(endOf)).toEqual(["completed", "failed", "cancelled"]);
  for (const comment of ["end", "end running", "end completed ", " end completed", "ping", "end failed\n"]) {
    expect(endOf(comment), comment).toBeUndefined();
  }
});

it("knows which status of a row is an end", () => {
  expect(["completed", "failed", "cancelled"].every(isEnded)).toBe(true);
  expect(["queued", "running", "waiting", "", undefined, null, 1].some(isEnded)).toBe(false);
});
