import { expect, test } from "vitest";
import { directionOf } from "../../src/markdown/direction.js";

test("the first letter decides, and where there is none nothing does", () => {
  expect(["- שלום world", "12. hello שלום", "ߒߞߏ", "1 | 2.50", "", "«مرحبا»", "日本"].map(directionOf)).toEqual([
    ...["rtl", "ltr", "rtl", null, null, "rtl", "ltr"],
  ]);
});
