import { expect, it } from "vitest";
import { dateGroups } from "../../src/history/date_groups.js";
import { formatsOf } from "../../src/history/formats.js";
import type { Thread } from "../../src/server/protocol.js";
import { ENGLISH } from "../../src/texts/index.js";
import { LANGUAGES } from "../../src/texts/translations.js";

const NOW = new Date(2026, 2, 31, 0, 30);
const at = (...date: [number, number, number, number?]): Thread => ({
  id: date.join("-"),
  created_at: new Date(...date).toISOString(),
});
const shape = (threads: readonly Thread[], texts = ENGLISH, locale = "en") =>
  dateGroups(threads, NOW, texts, locale).map((group) => [group.name, group.threads.length]);

it("says the day, then the week, the 30 days and the month, by the days of the reader's calendar", () => {
  const threads = [
    at(2026, 2, 31, 0),
    at(2026, 2, 30, 23),
    at(2026, 2, 29),
    at(2026, 2, 24),
    at(2026, 2, 23),
    at(2026, 2, 1),
    at(2026, 1, 28),
    at(2025, 11, 31),
    at(2025, 11, 1),
  ];
  expect(shape(threads)).toEqual([
    ["Today", 1],
    ["Yesterday", 1],
    ["Last 7 days", 2],
    ["Last 30 days", 2],
    ["February 2026", 1],
    ["December 2025", 2],
  ]);
});

it("says no date where a server lists its threads in another order, or without dates", () => {
  expect(shape([at(2026, 2, 1), at(2026, 2, 31)])).toEqual([[null, 2]]);
  expect(shape([at(2026, 2, 31), { id: "undated" }])).toEqual([[null, 2]]);
  expect(shape([{ id: "odd", created_at: "once" }])).toEqual([[null, 1]]);
  expect(shape([])).toEqual([]);
});

it("goes by the last activity where the server tells it", () => {
  const old = { ...at(2024, 1, 1), active_at: new Date(2026, 2, 31).toISOString() };
  expect(shape([old, at(2026, 2, 30)])).toEqual([
    ["Today", 1],
    ["Yesterday", 1],
  ]);
});

it("takes a clock that is ahead for today", () => {
  expect(shape([at(2026, 3, 2)])).toEqual([["Today", 1]]);
});

it("says it in each language", async () => {
  const german = (await LANGUAGES.de?.()) ?? ENGLISH;
  expect(shape([at(2026, 2, 31), at(2026, 2, 30), at(2026, 2, 28), at(2026, 1, 1)], german, "de")).toEqual([
    ["Heute", 1],
    ["Gestern", 1],
    ["Letzte 7 Tage", 1],
    ["Februar 2026", 1],
  ]);
});

it("makes the formats of a locale once", () => {
  expect(formatsOf("en-IE")).toBe(formatsOf("en-IE"));
  expect(formatsOf("en-IE")).not.toBe(formatsOf("en"));
});
