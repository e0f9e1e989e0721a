import { fill } from "../../texts/index.js";
import { el } from "../../ui/dom.js";
import type { DrawContext } from "../context.js";
import { type Fields, isFields, words } from "../fields.js";
import { applyBoxStyle, seriesColor } from "../style.js";
import { ChartDrawing } from "./drawing.js";
import { type ChartData, chartData } from "./scale.js";

const SERIES_COLORS = ["blue", "orange", "green", "purple", "pink", "yellow", "red"];

/** A chart, with a table of its numbers that can be opened. */
export function drawChart(node: Fields, context: DrawContext): HTMLElement {
  const data = chartData(node);
  if (data.rows.length === 0 || data.series.length === 0) {
    return el("p", { class: "w-caption w-no-data" }, context.texts.noData);
  }
  const colors = data.series.map(
    ({ color }, index) => seriesColor(color ?? SERIES_COLORS[index % SERIES_COLORS.length]) ?? "",
  );
  const canvas = el("div", { class: "w-chart-canvas", role: "img", "aria-label": title(data, context) });
  applyBoxStyle(canvas, sizes(node));
  const drawing = new ChartDrawing(data, colors, {
    format: numberFormat(context.host.locale),
    showYAxis: Boolean(node.showYAxis),
    showXAxis: !(isFields(node.xAxis) && node.xAxis.hide),
    showTooltip: node.showTooltip !== false,
    barGap: typeof node.barGap === "number" ? node.barGap : null,
    categoryGap: typeof node.barCategoryGap === "number" ? node.barCategoryGap : null,
  });
  const draw = () => {
    if (canvas.clientWidth) canvas.replaceChildren(drawing.draw(canvas.clientWidth, canvas.clientHeight));
  };
  new ResizeObserver(draw).observe(canvas);
  const element = el(
    "div",
    { class: "w-chart-frame" },
    canvas,
    node.showLegend !== false && legend(data, colors),
    numbers(data, context),
  );
  applyBoxStyle(element, { flex: node.flex });
  return element;
}

function sizes({
  height,
  width,
  size,
  minHeight,
  minWidth,
  minSize,
  maxHeight,
  maxWidth,
  maxSize,
  aspectRatio,
}: Fields): Fields {
  return { height, width, size, minHeight, minWidth, minSize, maxHeight, maxWidth, maxSize, aspectRatio };
}

function title({ series, axisKey }: ChartData, { texts }: DrawContext): string {
  const names = series.map(({ label }) => label).join(", ");
  return fill(axisKey ? texts.chartBy : texts.chart, { series: names, axis: axisKey });
}

function numberFormat(locale: string): (value: number) => string {
  try {
    const format = new Intl.NumberFormat(locale, { maximumFractionDigits: 6 });
    return (value) => format.format(value);
  } catch {
    return String;
  }
}

function legend({ series }: ChartData, colors: readonly string[]): HTMLElement {
  const names = series.map(({ label }, index) => {
    const mark = el("span", { class: "w-swatch" });
    mark.style.setProperty("color", colors[index] ?? "");
    return el("li", {}, mark, label);
  });
  return el("ul", { class: "w-legend", "aria-hidden": "true" }, names);
}

function numbers({ series, categories, rows, axisKey }: ChartData, { texts, memory, path }: DrawContext): HTMLElement {
  const heads = [axisKey, ...series.map(({ label }) => label)].map((name) => el("th", { scope: "col" }, name));
  const lines = rows.map((row, index) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, categories[index]),
      series.map(({ key }) => el("td", {}, words(row[key]))),
    ),
  );
  const table = el("table", { class: "w-chart" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines));
  const summary = el("summary", {}, texts.chartNumbers);
  const details = el(
    "details",
    { class: "w-numbers", open: memory.expanded.has(path) },
    summary,
    el("div", { class: "scroll", tabindex: "0" }, table),
  );
  details.addEventListener("toggle", () => {
    if (details.open) memory.expanded.add(path);
    else memory.expanded.delete(path);
  });
  return details;
}
