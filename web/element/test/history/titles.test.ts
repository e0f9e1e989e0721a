import { expect, it } from "vitest";
import { RunMarks } from "../../src/history/run_marks.js";
import { matches } from "../../src/history/titles.js";

it("finds a title by its words, in any order, whatever their case and accents", () => {
  expect(matches("Größe des Cafés", "cafe GRÖSSE")).toBe(false);
  expect(matches("Größe des Cafés", "cafe große")).toBe(true);
  expect(matches("Largest Zoo", "oo lar")).toBe(true);
  expect(matches("Largest Zoo", "zoos")).toBe(false);
});

it("marks a thread while a run is active, and then until the person sees it", () => {
  const marks = new RunMarks();
  marks.began("a");
  expect(marks.of("a")).toBe("running");
  marks.ended("a", false);
  expect(marks.of("a")).toBe("finished");
  marks.seen("a");
  expect(marks.of("a")).toBeNull();
  marks.began("a");
  marks.seen("a");
  expect(marks.of("a")).toBe("running");
  marks.ended("a", true);
  expect(marks.of("a")).toBeNull();
  marks.ended("never began", false);
  expect(marks.of("never began")).toBeNull();
});
