import { describe, expect, it } from "vitest";
import {
  addDays,
  addMonths,
  firstWeekday,
  isDay,
  today,
  weekStart,
  weeksOf,
  within,
} from "../../src/widgets/choosing/calendar.js";

describe("a day", () => {
  it("is one of the calendar", () => {
    expect(["2026-02-28", "2024-02-29", "2026-02-30", "2026-1-01", "", "x"].map(isDay)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
  });

  it("is that of the person's clock, whatever the time zone", () => {
    expect(today(new Date(2026, 2, 1, 0, 5))).toBe("2026-03-01");
    expect(today(new Date(2026, 2, 1, 23, 55))).toBe("2026-03-01");
  });

  it("moves over months and years, to the last day where a month is shorter", () => {
    expect(addDays("2026-12-31", 1)).toBe("2027-01-01");
    expect(addMonths("2026-01-31", 1)).toBe("2026-02-28");
    expect(addMonths("2024-02-29", 12)).toBe("2025-02-28");
    expect(addMonths("2026-01-15", -1)).toBe("2025-12-15");
  });

  it("stays between the first and the last that are allowed", () => {
    expect(within("2026-01-01", "2026-02-01", null)).toBe("2026-02-01");
    expect(within("2026-03-01", null, "2026-02-01")).toBe("2026-02-01");
    expect(within("2026-01-15", "2026-01-01", "2026-02-01")).toBe("2026-01-15");
  });
});

describe("a month", () => {
  it("has weeks that begin where the locale's do", () => {
    expect(firstWeekday("de")).toBe(1);
    expect(firstWeekday("en-US")).toBe(7);
    expect(weekStart("2026-03-01", 1)).toBe("2026-02-23");
    expect(weekStart("2026-03-01", 7)).toBe("2026-03-01");
  });

  it.each([
    ["2026-03-15", 1, "2026-02-23", "2026-04-05", 6],
    ["2026-02-10", 7, "2026-02-01", "2026-02-28", 4],
    ["2026-12-31", 1, "2026-11-30", "2027-01-03", 5],
  ])("%s has whole weeks from its first to its last day", (day, first, from, to, count) => {
    const weeks = weeksOf(day, first);
    expect([weeks[0]?.[0], weeks.at(-1)?.[6], weeks.length]).toEqual([from, to, count]);
    expect(new Set(weeks.flat()).size).toBe(count * 7);
  });
});
