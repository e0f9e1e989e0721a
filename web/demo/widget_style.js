/**
 * A widget's look, from ChatKit's tokens to CSS properties.
 *
 * Properties are set one by one through the CSSOM: the browser drops what it cannot parse, and nothing that a server
 * sends becomes a declaration of another property. No property here can load anything.
 */

const UNIT_PX = 4;
const RADII = {
  none: "0", "2xs": "2px", xs: "4px", sm: "6px", md: "8px", lg: "10px", xl: "12px", "2xl": "16px", "3xl": "20px",
  "4xl": "24px", full: "9999px", "100%": "100%",
};
const ALIGN = { start: "flex-start", center: "center", end: "flex-end", baseline: "baseline", stretch: "stretch" };
const JUSTIFY = {
  start: "flex-start", center: "center", end: "flex-end", between: "space-between", around: "space-around",
  evenly: "space-evenly", stretch: "stretch",
};
const COLORS = {
  prose: "var(--text)", primary: "var(--text)", emphasis: "var(--text)", secondary: "var(--muted)",
  tertiary: "var(--muted)", success: "var(--success)", warning: "var(--warning)", danger: "var(--danger)",
  surface: "var(--surface)", "surface-secondary": "var(--sunken)", "surface-tertiary": "var(--sunken)",
  "surface-elevated": "var(--surface)", "surface-elevated-secondary": "var(--sunken)",
  default: "var(--line)", subtle: "var(--line)", strong: "var(--muted)",
};
/** Hues of primitive tokens such as `blue-500`; the number is the shade, 50 the lightest. */
const HUES = {
  red: 25, orange: 50, amber: 70, yellow: 95, green: 150, teal: 185, cyan: 210, blue: 255, indigo: 275, violet: 295,
  purple: 305, pink: 350, gray: null, slate: null, neutral: null,
};

const length = (value) => (typeof value === "number" ? `${value}px` : value);
const spacing = (value) => (typeof value === "number" ? `${value * UNIT_PX}px` : value);

/** A CSS colour of a token, a primitive token, a CSS colour, or a pair for the two themes. */
export function color(value) {
  if (value && typeof value === "object") return `light-dark(${color(value.light)}, ${color(value.dark)})`;
  if (value in COLORS) return COLORS[value];
  const [, hue, shade] = /^([a-z]+)-(\d{2,3})$/.exec(value) ?? [];
  if (!(hue in HUES)) return value;
  const lightness = 1 - 0.8 * (Number(shade) / 1000);
  const chroma = HUES[hue] === null ? 0.01 : 0.16 * Math.sin(Math.PI * Math.min(0.9, Math.max(0.1, Number(shade) / 1000)));
  return `oklch(${lightness} ${chroma} ${HUES[hue] ?? 0})`;
}

/** Layout and colours that any component may have. */
export function applyBoxStyle(element, node) {
  const { style } = element;
  const set = (property, value) => {
    if (value !== undefined && value !== null) style.setProperty(property, String(value));
  };
  set("align-items", ALIGN[node.align]);
  set("justify-content", JUSTIFY[node.justify]);
  set("flex-wrap", node.wrap);
  set("flex", node.flex);
  set("gap", spacing(node.gap));
  for (const [property, key] of [["width", "Width"], ["height", "Height"]]) {
    set(property, length(node[property] ?? node.size));
    set(`min-${property}`, length(node[`min${key}`] ?? node.minSize));
    set(`max-${property}`, length(node[`max${key}`] ?? node.maxSize));
  }
  set("aspect-ratio", node.aspectRatio);
  set("border-radius", RADII[node.radius]);
  if (node.background) set("background-color", color(node.background));
  applyEdges(set, "padding", node.padding);
  applyEdges(set, "margin", node.margin);
  applyBorder(set, node.border);
}

function applyEdges(set, property, value) {
  if (typeof value !== "object" || value === null) return set(property, spacing(value));
  set(`${property}-inline`, spacing(value.x));
  set(`${property}-block`, spacing(value.y));
  for (const edge of ["top", "right", "bottom", "left"]) set(`${property}-${edge}`, spacing(value[edge]));
}

function applyBorder(set, border) {
  if (border === undefined || border === null) return;
  const one = (edge, value) => {
    const { size, color: hue = "default", style = "solid" } = typeof value === "number" ? { size: value } : value;
    set(edge, `${Number(size)}px ${style} ${color(hue)}`);
  };
  if (typeof border === "number" || "size" in border) return one("border", border);
  const edges = { x: "border-inline", y: "border-block", top: "border-top", right: "border-right", bottom: "border-bottom", left: "border-left" };
  for (const [name, edge] of Object.entries(edges)) if (name in border) one(edge, border[name]);
}

/** Text's own properties; sizes and weights are classes. */
export function applyTextStyle(element, node) {
  if (node.color) element.style.setProperty("color", color(node.color));
  if (node.width) element.style.setProperty("width", length(node.width));
  if (node.textAlign) element.style.setProperty("text-align", node.textAlign);
  if (node.italic) element.style.setProperty("font-style", "italic");
  if (node.lineThrough) element.style.setProperty("text-decoration", "line-through");
  if (node.size) element.classList.add(`size-${node.size}`);
  if (node.weight) element.classList.add(`weight-${node.weight}`);
  if (node.truncate || node.maxLines) {
    element.classList.add("clamp");
    element.style.setProperty("-webkit-line-clamp", String(node.maxLines ?? 1));
  }
}
