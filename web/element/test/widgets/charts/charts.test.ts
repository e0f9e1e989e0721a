import fc from "fast-check";
import { expect, test } from "vitest";
import { curvePath } from "../../../src/widgets/charts/curve.js";
import { barPlaces, chartData, ticksOf } from "../../../src/widgets/charts/scale.js";

const NODE = {
  type: "Chart",
  xAxis: { dataKey: "month", labels: { 1: "January" } },
  data: [
    { month: 1, a: 3, b: 2, c: "4" },
    { month: 2, a: -1, b: 5, c: "none" },
  ],
  series: [
    { type: "bar", dataKey: "a", stack: "s", label: "A" },
    { type: "bar", dataKey: "b", stack: "s" },
    { type: "line", dataKey: "c" },
    { type: "bar", dataKey: "c" },
  ],
};

test("a stacked value begins where the one below ends; what is below zero goes down from there", () => {
  const { categories, series, spans } = chartData(NODE);
  expect(categories).toEqual(["January", "2"]);
  expect(series.map(({ label }) => label)).toEqual(["A", "b", "c", "c"]);
  expect(spans[1]).toEqual([
    { from: 3, to: 5, value: 2 },
    { from: 0, to: 5, value: 5 },
  ]);
  expect(spans[2]).toEqual([{ from: 0, to: 4, value: 4 }, null]);
});

test("bars of one stack share a place", () => {
  expect([...barPlaces(chartData(NODE).series).values()]).toEqual([0, 0, 1]);
});

test("a chart of nothing is empty", () => {
  expect(chartData({ type: "Chart" }).spans).toEqual([]);
  expect(ticksOf([])).toEqual([0, 1]);
});

test("ticks are round, and all values and zero are among them", () => {
  expect(ticksOf([3, 38])).toEqual([0, 10, 20, 30, 40]);
  expect(ticksOf([-0.3, 0.5])).toEqual([-0.4, -0.2, 0, 0.2, 0.4, 0.6]);
  const value = fc.tuple(fc.integer(), fc.constantFrom(1e-6, 0.1, 1, 1e6)).map(([number, scale]) => number * scale);
  fc.assert(
    fc.property(fc.array(value, { minLength: 1 }), (values) => {
      const ticks = ticksOf(values);
      expect(ticks.length).toBeLessThan(9);
      expect(ticks).toContain(0);
      const slack = 1e-6 * Math.max(...values.map(Math.abs));
      expect(ticks[0]).toBeLessThanOrEqual(Math.min(...values) + slack);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(Math.max(...values) - slack);
    }),
  );
});

test("values that no browser could tell apart have ticks all the same", () => {
  for (const value of [5e-324, -5e-324, 1.7e308]) expect(ticksOf([value, -value])).toEqual([0, 1]);
});

test("a line is straight, in steps, or smooth", () => {
  const points = [
    { x: 0, y: 0 },
    { x: 2, y: 4 },
    { x: 4, y: 4 },
  ];
  expect(curvePath(points, "linear")).toBe("M0,0L2,4L4,4");
  expect(curvePath(points, "stepAfter")).toBe("M0,0L2,0L2,4L2,4L4,4L4,4L4,4");
  expect(curvePath(points, "monotone")).toMatch(/^M0,0C[^L]+$/);
  expect(curvePath([], "monotone")).toBe("");
});
