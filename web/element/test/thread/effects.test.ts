import { describe, expect, it } from "vitest";
import { compareCursors } from "../../src/thread/effects.js";

describe("compareCursors", () => {
  it("compares pairs of numbers, not texts", () => {
    const ordered = ["0-1", "0-3", "1-2", "1-9", "1-10", "2-1", "10-1"];
    expect([...ordered].sort().sort(compareCursors)).toEqual(ordered);
  });
});
