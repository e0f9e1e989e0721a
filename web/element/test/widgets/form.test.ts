import { expect, test, vi } from "vitest";
import { nestedValues, withValues } from "../../src/widgets/form.js";

test("names with dots nest", () => {
  const values = nestedValues([
    ["guest.name", "Ada"],
    ["guest.seat.row", "4"],
    ["coffee", false],
  ]);
  expect(values).toEqual({ guest: { name: "Ada", seat: { row: "4" } }, coffee: false });
});

test("of two values under one name the later holds", () => {
  expect(
    nestedValues([
      ["a", "1"],
      ["a.b", "2"],
    ]),
  ).toEqual({ a: { b: "2" } });
  expect(
    nestedValues([
      ["a.b", "2"],
      ["a", "1"],
    ]),
  ).toEqual({ a: "1" });
});

test("no name reaches a prototype", () => {
  const values = nestedValues([
    ["__proto__.polluted", "yes"],
    ["constructor.prototype.polluted", "yes"],
  ]);
  expect(JSON.stringify(values)).toBe(
    '{"__proto__":{"polluted":"yes"},"constructor":{"prototype":{"polluted":"yes"}}}',
  );
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test("a form's values go into the payload, and are it where there is none to go into", () => {
  const ignored = vi.fn();
  expect(withValues({ room: "blue" }, { hour: "10" }, ignored)).toEqual({ room: "blue", hour: "10" });
  expect(withValues("room", { hour: "10" }, ignored)).toEqual({ hour: "10" });
  expect(withValues(undefined, { hour: "10" }, ignored)).toEqual({ hour: "10" });
  expect(withValues(undefined, {}, ignored)).toBeNull();
  expect(withValues([1], {}, ignored)).toEqual([1]);
  expect(ignored).not.toHaveBeenCalled();
});

test("what the payload has itself wins over a field of the same name, also inside", () => {
  const ignored: string[] = [];
  const payload = { id: 7, title: "order", guest: { name: "Ada" } };
  const values = nestedValues([
    ["title", "typed"],
    ["guest.name", "Bob"],
    ["guest.hour", "9"],
    ["__proto__.x", "y"],
  ]);
  expect(withValues(payload, values, (name) => ignored.push(name))).toEqual(
    nestedValues([
      ["id", 7],
      ["title", "order"],
      ["guest.name", "Ada"],
      ["guest.hour", "9"],
      ["__proto__.x", "y"],
    ]),
  );
  expect(ignored).toEqual(["title", "guest.name"]);
});
