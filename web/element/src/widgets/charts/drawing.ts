import { curvePath, type Point } from "./curve.js";
import { barPlaces, type ChartData, type Series, type Span, ticksOf } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";

const LABEL_HEIGHT_PX = 22;
const CHARACTER_PX = 6.5;
const PAD_PX = 8;
const BAR_GAP_PX = 2;
const BAR_MOST_PX = 48;

export interface ChartLook {
  readonly format: (value: number) => string;
  readonly showYAxis: boolean;
  readonly showXAxis: boolean;
  readonly showTooltip: boolean;
  /** The pixels between the bars of a category, and between categories; null for the defaults. */
  readonly barGap: number | null;
  readonly categoryGap: number | null;
}

interface Frame {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  /** The width of a category. */
  readonly band: number;
  x(index: number): number;
  y(value: number): number;
}

/** The drawing of a chart: bars, areas and lines over the same categories. */
export class ChartDrawing {
  readonly #ticks: readonly number[];
  readonly #places: ReadonlyMap<Series, number>;

  constructor(
    private readonly data: ChartData,
    private readonly colors: readonly string[],
    private readonly look: ChartLook,
  ) {
    this.#ticks = ticksOf(data.spans.flat().flatMap((span) => (span ? [span.from, span.to] : [])));
    this.#places = barPlaces(data.series);
  }

  draw(width: number, height: number): SVGSVGElement {
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "w-chart-svg", "aria-hidden": "true" });
    const frame = this.#frame(width, height);
    svg.append(this.#grid(frame));
    if (this.look.showXAxis) svg.append(this.#categories(frame));
    for (const kind of ["area", "bar", "line"] as const) {
      this.data.series.forEach((series, index) => {
        if (series.kind === kind) svg.append(this.#series(series, index, frame));
      });
    }
    return svg;
  }

  #frame(width: number, height: number): Frame {
    const widest = Math.max(...this.#ticks.map((tick) => this.look.format(tick).length));
    const left = this.look.showYAxis ? widest * CHARACTER_PX + PAD_PX : 1;
    const right = width - 1;
    const top = PAD_PX;
    const bottom = height - (this.look.showXAxis ? LABEL_HEIGHT_PX : PAD_PX);
    const band = (right - left) / Math.max(1, this.data.categories.length);
    const [least = 0, most = 1] = [this.#ticks[0], this.#ticks.at(-1)];
    const x = (index: number) => left + (index + 0.5) * band;
    const y = (value: number) => bottom - ((value - least) / (most - least)) * (bottom - top);
    return { left, right, top, bottom, band, x, y };
  }

  #grid({ left, right, y }: Frame): SVGGElement {
    const group = shape("g", { class: "w-chart-grid" });
    for (const tick of this.#ticks) {
      const at = Math.round(y(tick)) + 0.5;
      group.append(shape("line", { x1: left, x2: right, y1: at, y2: at, class: tick === 0 ? "zero" : "" }));
      if (this.look.showYAxis) group.append(label(this.look.format(tick), left - PAD_PX / 2, at + 4, "end"));
    }
    return group;
  }

  /** The names of the categories, as many as there is room for. */
  #categories({ x, bottom, band }: Frame): SVGGElement {
    const group = shape("g");
    const { categories } = this.data;
    const widest = Math.max(1, ...categories.map((name) => name.length)) * CHARACTER_PX + PAD_PX;
    const every = Math.max(1, Math.ceil(widest / band));
    categories.forEach((name, index) => {
      if (index % every === 0) group.append(label(name, x(index), bottom + 16, "middle"));
    });
    return group;
  }

  #series(series: Series, index: number, frame: Frame): SVGGElement {
    const group = shape("g", { class: `w-series ${series.kind}` });
    group.style.setProperty("color", this.colors[index] ?? "");
    const spans = this.data.spans[index] ?? [];
    if (series.kind === "bar") group.append(...this.#bars(series, spans, frame));
    else group.append(...this.#line(series, spans, frame));
    return group;
  }

  #bars(series: Series, spans: readonly (Span | null)[], { x, y, band }: Frame): SVGElement[] {
    const count = Math.max(...this.#places.values()) + 1;
    const gap = this.look.barGap ?? BAR_GAP_PX;
    const room = band - (this.look.categoryGap ?? band * 0.25) - gap * (count - 1);
    const width = Math.max(1, Math.min(BAR_MOST_PX, room / count));
    const whole = width * count + gap * (count - 1);
    const place = this.#places.get(series) ?? 0;
    return spans.flatMap((span, row) => {
      if (!span) return [];
      const [top, bottom] = [Math.min(y(span.from), y(span.to)), Math.max(y(span.from), y(span.to))];
      const left = x(row) - whole / 2 + place * (width + gap);
      const radius = Math.min(3, width / 2);
      const bar = shape("rect", { x: left, y: top, width, height: Math.max(0.5, bottom - top), rx: radius });
      return [this.#withTooltip(bar, series, row, span)];
    });
  }

  #line(series: Series, spans: readonly (Span | null)[], frame: Frame): SVGElement[] {
    const runs = runsOf(spans);
    const at = (row: number, value: number): Point => ({ x: frame.x(row), y: frame.y(value) });
    const curves = runs.flatMap((run) => {
      const upper = curvePath(
        run.map(({ row, span }) => at(row, span.to)),
        series.curve,
      );
      const stroke = shape("path", { d: upper, class: "stroke" });
      if (series.kind === "line") return [stroke];
      const lower = curvePath(run.map(({ row, span }) => at(row, span.from)).reverse(), series.curve);
      return [shape("path", { d: `${upper}L${lower.slice(1)}Z`, class: "surface" }), stroke];
    });
    const points = runs.flat().map(({ row, span }) => {
      const { x, y } = at(row, span.to);
      const dot = shape("g", { class: "point" });
      dot.append(
        shape("circle", { cx: x, cy: y, r: 12, class: "reach" }),
        shape("circle", { cx: x, cy: y, r: 3, class: "dot" }),
      );
      return this.#withTooltip(dot, series, row, span);
    });
    return [...curves, ...points];
  }

  #withTooltip<Shape extends SVGElement>(drawn: Shape, { label: name }: Series, row: number, { value }: Span): Shape {
    if (!this.look.showTooltip) return drawn;
    const title = shape("title");
    title.textContent = `${this.data.categories[row] ?? ""}\n${name}: ${this.look.format(value)}`.trim();
    drawn.append(title);
    return drawn;
  }
}

interface Placed {
  readonly row: number;
  readonly span: Span;
}

/** The uninterrupted parts of a line. A row without a number interrupts it. */
function runsOf(spans: readonly (Span | null)[]): Placed[][] {
  const runs: Placed[][] = [[]];
  spans.forEach((span, row) => {
    if (span) runs.at(-1)?.push({ row, span });
    else runs.push([]);
  });
  return runs.filter((run) => run.length > 0);
}

function shape<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Readonly<Record<string, string | number>> = {},
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

function label(text: string, x: number, y: number, anchor: string): SVGTextElement {
  const element = shape("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}
