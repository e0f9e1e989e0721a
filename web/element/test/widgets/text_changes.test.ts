import { expect, test } from "vitest";
import { textChanges } from "../../src/widgets/text_changes.js";

const text = (value: string, more: object = {}) => ({ type: "Text", id: "t", value, ...more });
const card = (...children: object[]) => ({ type: "Card", children });

test("texts that grew are named with their places", () => {
  const before = card({ type: "Row", children: [text("a"), text("b")] }, { type: "Markdown", value: "" });
  const after = card({ type: "Row", children: [text("a"), text("bc")] }, { type: "Markdown", value: "*" });
  expect(textChanges(before, after)).toEqual([
    { path: ".0.1", value: "bc" },
    { path: ".1", value: "*" },
  ]);
});

test("a child that is no list is the first", () => {
  const before = { type: "Transition", children: text("a") };
  expect(textChanges(before, { ...before, children: text("b") })).toEqual([{ path: ".0", value: "b" }]);
  expect(textChanges(before, { ...before, children: [text("a")] })).toBeNull();
});

test("the end of streaming changes nothing that is seen", () => {
  expect(textChanges(card(text("a", { streaming: true })), card(text("a", { streaming: false })))).toEqual([]);
});

test("any other change is not growth", () => {
  expect(textChanges(card(text("a")), card(text("a", { size: "lg" })))).toBeNull();
  expect(textChanges(card(text("a")), card(text("a"), text("b")))).toBeNull();
  expect(textChanges(card({ type: "Title", value: "a" }), card({ type: "Title", value: "b" }))).toBeNull();
  const field = { editable: { name: "n" } };
  expect(textChanges(card(text("a", field)), card(text("b", field)))).toBeNull();
});
