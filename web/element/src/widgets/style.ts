import { type Fields, isFields, tokenClass, words } from "./fields.js";

/**
 * The look of a widget: ChatKit's tokens as CSS properties.
 *
 * Properties are set one by one through the CSSOM: the browser drops values that it cannot parse, and no value of a
 * server becomes a declaration of another property. None of these properties can load anything.
 */

const UNIT_PX = 4;

type Table = Readonly<Record<string, string>>;

const RADII: Table = {
  none: "0",
  "2xs": "2px",
  xs: "4px",
  sm: "6px",
  md: "8px",
  lg: "10px",
  xl: "12px",
  "2xl": "16px",
  "3xl": "20px",
  "4xl": "24px",
  full: "9999px",
  "100%": "100%",
};
const ALIGN: Table = {
  start: "flex-start",
  center: "center",
  end: "flex-end",
  baseline: "baseline",
  stretch: "stretch",
};
const JUSTIFY: Table = {
  start: "flex-start",
  center: "center",
  end: "flex-end",
  between: "space-between",
  around: "space-around",
  evenly: "space-evenly",
  stretch: "stretch",
};
const COLORS: Table = {
  prose: "var(--text)",
  primary: "var(--text)",
  emphasis: "var(--text)",
  secondary: "var(--muted)",
  tertiary: "var(--muted)",
  success: "var(--success)",
  warning: "var(--warning)",
  danger: "var(--danger)",
  surface: "var(--surface)",
  "surface-secondary": "var(--sunken)",
  "surface-tertiary": "var(--raised)",
  "surface-elevated": "var(--surface)",
  "surface-elevated-secondary": "var(--sunken)",
  default: "var(--line)",
  subtle: "var(--line)",
  strong: "var(--control-line)",
};
/** The hues of primitive tokens such as `blue-500`, whose number is the shade; 50 is the lightest. Null is gray. */
const HUES: Readonly<Record<string, number | null>> = {
  red: 25,
  orange: 50,
  amber: 70,
  yellow: 95,
  green: 150,
  teal: 185,
  cyan: 210,
  blue: 255,
  indigo: 275,
  violet: 295,
  purple: 305,
  pink: 350,
  gray: null,
  slate: null,
  neutral: null,
};
/** The edges. They are logical, so that a widget is mirrored where text runs from right to left. */
const EDGES: Table = {
  x: "inline",
  y: "block",
  top: "block-start",
  right: "inline-end",
  bottom: "block-end",
  left: "inline-start",
};

function of(table: Table, key: unknown): string | null {
  return typeof key === "string" && Object.hasOwn(table, key) ? (table[key] ?? null) : null;
}

/** A length, from pixels or from CSS. */
export function length(value: unknown): string | null {
  return typeof value === "number" ? `${value}px` : words(value) || null;
}

/** A distance, from ChatKit's units or from CSS. */
export function spacing(value: unknown): string | null {
  return typeof value === "number" ? `${value * UNIT_PX}px` : words(value) || null;
}

/** The CSS colour of a token, a primitive token, a CSS colour, or a pair for the two themes; null for no colour. */
export function color(value: unknown): string | null {
  if (isFields(value)) {
    const [light, dark] = [color(value.light), color(value.dark)];
    return light && dark ? `light-dark(${light}, ${dark})` : (light ?? dark);
  }
  if (typeof value !== "string" || !value) return null;
  return of(COLORS, value) ?? shade(value) ?? value;
}

/** The colour of a chart's series, where a bare hue means one of the chart's colours. */
export function seriesColor(value: unknown): string | null {
  if (isFields(value)) return color({ light: seriesColor(value.light), dark: seriesColor(value.dark) });
  return (typeof value === "string" && shade(`${value}-500`)) || color(value);
}

function shade(name: string): string | null {
  const [, hue = "", digits = ""] = /^([a-z]+)-(\d{2,3})$/.exec(name) ?? [];
  if (!Object.hasOwn(HUES, hue)) return null;
  const depth = Number(digits) / 1000;
  const angle = HUES[hue] ?? null;
  const chroma = angle === null ? 0.01 : 0.16 * Math.sin(Math.PI * Math.min(0.9, Math.max(0.1, depth)));
  return `oklch(${rounded(1 - 0.8 * depth)} ${rounded(chroma)} ${angle ?? 0})`;
}

function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}

type SetProperty = (property: string, value: string | null) => void;

/** Sets the layout and the colours that every component may have. */
export function applyBoxStyle(element: HTMLElement, node: Fields): void {
  const set: SetProperty = (property, value) => {
    if (value !== null) element.style.setProperty(property, value);
  };
  set("align-items", of(ALIGN, node.align));
  set("justify-content", of(JUSTIFY, node.justify));
  set("flex-wrap", words(node.wrap) || null);
  set("flex", words(node.flex) || null);
  set("gap", spacing(node.gap));
  applySizes(set, node);
  set("border-radius", of(RADII, node.radius));
  set("background-color", color(node.background));
  applyEdges(set, "padding", node.padding);
  applyEdges(set, "margin", node.margin);
  applyBorder(set, node.border);
  applyLine(set, node);
}

function applySizes(set: SetProperty, node: Fields): void {
  for (const [property, name] of [["width", "Width"] as const, ["height", "Height"] as const]) {
    set(property, length(node[property] ?? node.size));
    set(`min-${property}`, length(node[`min${name}`] ?? node.minSize));
    set(`max-${property}`, length(node[`max${name}`] ?? node.maxSize));
  }
  set("aspect-ratio", words(node.aspectRatio) || null);
}

function applyEdges(set: SetProperty, property: string, value: unknown): void {
  if (!isFields(value)) set(property, spacing(value));
  else for (const [name, edge] of Object.entries(EDGES)) set(`${property}-${edge}`, spacing(value[name]));
}

function applyBorder(set: SetProperty, border: unknown): void {
  const one = (property: string, value: unknown) => {
    const { size, color: hue, style } = isFields(value) ? value : { size: value, color: null, style: null };
    if (typeof size === "number") set(property, `${size}px ${words(style) || "solid"} ${color(hue) ?? "var(--line)"}`);
  };
  if (!isFields(border) || "size" in border) one("border", border);
  else for (const [name, edge] of Object.entries(EDGES)) one(`border-${edge}`, border[name]);
}

/** Sets the line of a divider. */
function applyLine(set: SetProperty, { lineColor, lineSize, lineSpacing }: Fields): void {
  set("border-color", color(lineColor));
  set("--w-line", length(lineSize));
  set("--w-spacing", spacing(lineSpacing));
}

/** Sets a part of the page to light or dark. */
export function applyTheme(element: HTMLElement, theme: unknown): void {
  if (theme === "light" || theme === "dark") element.dataset.theme = theme;
}

/** Sets the properties of text. Sizes and weights are classes instead. */
export function applyTextStyle(element: HTMLElement, node: Fields): void {
  const set: SetProperty = (property, value) => {
    if (value !== null) element.style.setProperty(property, value);
  };
  set("color", color(node.color));
  set("width", length(node.width));
  set("text-align", words(node.textAlign) || null);
  if (node.italic) set("font-style", "italic");
  if (node.lineThrough) set("text-decoration", "line-through");
  for (const look of [tokenClass("size", node.size), tokenClass("weight", node.weight)]) {
    if (look) element.classList.add(look);
  }
  if (Number(node.minLines) > 0) set("min-height", `calc(${Number(node.minLines)} * 1lh)`);
  if (!node.truncate && !node.maxLines) return;
  element.classList.add("clamp");
  set("-webkit-line-clamp", String(Number(node.maxLines) || 1));
}
