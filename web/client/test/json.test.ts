import fc from "fast-check";
import { expect, it } from "vitest";
import { jsonOf } from "../src/json.js";

it("says what JSON.stringify says, but for halves of characters", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(jsonOf(value)).toBe(JSON.stringify(value));
    }),
  );
});

it("makes any text well-formed", () => {
  const units = fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit));
  const halves = fc.constantFrom("\ud83d", "\ude00", "\\", "\\u", "\\ud83d", '"');
  fc.assert(
    fc.property(fc.array(fc.oneof(units, halves)), (pieces) => {
      const text = pieces.join("");
      const wellFormed = new TextDecoder().decode(new TextEncoder().encode(text));
      expect(JSON.parse(jsonOf({ [text]: text }))).toEqual({ [wellFormed]: wellFormed });
    }),
  );
});
