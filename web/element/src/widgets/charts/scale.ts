import { type Fields, isFields, records, words } from "../fields.js";

export interface Series {
  readonly kind: "bar" | "area" | "line";
  readonly key: string;
  readonly label: string;
  readonly stack: string | null;
  readonly color: unknown;
  readonly curve: string;
}

/**
 * The place of a value. A stacked value begins at the end of the one below it. Null stands for a row without a number.
 */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly value: number;
}

export interface ChartData {
  readonly axisKey: string;
  /** The names of the categories. */
  readonly categories: readonly string[];
  readonly series: readonly Series[];
  readonly rows: readonly Fields[];
  /** The spans by series and row. */
  readonly spans: readonly (readonly (Span | null)[])[];
}

export function chartData(node: Fields): ChartData {
  const axis = isFields(node.xAxis) ? node.xAxis : { dataKey: node.xAxis };
  const axisKey = words(axis.dataKey);
  const labels = isFields(axis.labels) ? axis.labels : {};
  const rows = records(node.data);
  const series = records(node.series).map(seriesOf);
  const categories = rows.map((row) => {
    const name = words(row[axisKey]);
    return Object.hasOwn(labels, name) ? words(labels[name]) : name;
  });
  return { axisKey, categories, series, rows, spans: spansOf(series, rows) };
}

function seriesOf(given: Fields): Series {
  const key = words(given.dataKey);
  const kind = given.type === "area" || given.type === "line" ? given.type : "bar";
  const stack = kind === "line" ? null : words(given.stack) || null;
  return { kind, key, label: words(given.label) || key, stack, color: given.color, curve: words(given.curveType) };
}

function spansOf(series: readonly Series[], rows: readonly Fields[]): (Span | null)[][] {
  const tops = new Map<string, number>();
  return series.map(({ kind, key, stack }) =>
    rows.map((row, index) => {
      const value = numberOf(row[key]);
      if (value === null) return null;
      if (stack === null) return { from: 0, to: value, value };
      // Negative values are stacked downwards.
      const pile = `${kind} ${stack} ${index} ${value < 0}`;
      const from = tops.get(pile) ?? 0;
      tops.set(pile, from + value);
      return { from, to: from + value, value };
    }),
  );
}

function numberOf(value: unknown): number | null {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : null;
}

/** The round values from below the least to above the greatest value, zero among them. */
export function ticksOf(values: readonly number[], count = 4): number[] {
  const least = Math.min(0, ...values);
  const most = Math.max(0, ...values);
  const rough = (most - least) / count;
  // The values are equal or too large to draw.
  if (rough < 1e-100 || !Number.isFinite(rough)) return [0, 1];
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 2.5, 5, 10].find((factor) => factor * magnitude >= rough) ?? 10) * magnitude;
  const first = Math.floor(least / step + 1e-9);
  const last = Math.ceil(most / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => exact((first + index) * step));
}

/** The number without the noise of binary fractions. */
function exact(value: number): number {
  return Number(value.toPrecision(12));
}

/** The places of bars side by side. The bars of one stack share a place. */
export function barPlaces(series: readonly Series[]): Map<Series, number> {
  const places = new Map<string, number>();
  const result = new Map<Series, number>();
  for (const [index, one] of series.entries()) {
    if (one.kind !== "bar") continue;
    const name = one.stack ?? `${index} alone`;
    if (!places.has(name)) places.set(name, places.size);
    result.set(one, places.get(name) ?? 0);
  }
  return result;
}
