import type { ChatKitOptions, FontObject, ThemeOption } from "@openai/chatkit";

const RADII = {
  pill: ["10px", "18px", "999px"],
  round: ["10px", "16px", "14px"],
  soft: ["6px", "8px", "8px"],
  sharp: ["0", "0", "0"],
};
const DENSITIES = { compact: "0.75", normal: "1", spacious: "1.3" };
const SOFT_PERCENT = [8, 12, 18, 26];
const WHITE = "#ffffff";
const BLACK = "#101316";

/** The lightness of each grey, light and dark, for a site that gives the greys a hue. */
const GREYS: Record<string, readonly [number, number]> = {
  page: [1, 0.2],
  surface: [1, 0.24],
  sunken: [0.97, 0.17],
  raised: [0.945, 0.28],
  line: [0.9, 0.34],
  "control-line": [0.62, 0.58],
  muted: [0.47, 0.74],
  text: [0.22, 0.94],
};
const CHROMA_PER_TINT = 0.004;
const LIGHTNESS_PER_SHADE = 0.012;

/** The properties that this module has set on each element. All others are the page's. */
const applied = new WeakMap<HTMLElement, Set<string>>();
const loadedFonts = new Set<string>();

/**
 * Sets the site's `theme` as custom properties of the element. Properties that it does not name stay the style sheet's.
 */
export function applyTheme(host: HTMLElement, given: ChatKitOptions["theme"]): void {
  const theme: ThemeOption = typeof given === "string" ? { colorScheme: given } : (given ?? {});
  const { style } = host;
  const before = applied.get(host) ?? new Set<string>();
  for (const name of before) style.removeProperty(name);
  const names = new Set<string>();
  applied.set(host, names);
  const set = (name: string, value: string | null | undefined) => {
    if (!value) return;
    style.setProperty(name, value);
    names.add(name);
  };
  set("color-scheme", theme.colorScheme);
  const { baseSize, fontFamily, fontFamilyMono, fontSources = [] } = theme.typography ?? {};
  set("--base-size", baseSize === undefined ? null : `${baseSize}px`);
  set("--font", fontFamily);
  set("--font-mono", fontFamilyMono);
  for (const font of fontSources) load(font);
  const [radius, bubble, control] = RADII[theme.radius ?? "pill"];
  set("--radius", theme.radius && radius);
  set("--bubble-radius", theme.radius && bubble);
  set("--control-radius", theme.radius && control);
  set("--density", theme.density && DENSITIES[theme.density]);
  setGreys(set, theme);
  setAccent(host, set, theme);
  const surface = theme.color?.surface;
  if (surface !== undefined) {
    set("--page", surface.background);
    set("--text", surface.foreground);
  }
}

type Apply = (name: string, value: string | null | undefined) => void;

function setGreys(set: Apply, theme: ThemeOption): void {
  const grey = theme.color?.grayscale;
  for (const [name, [light, dark]] of Object.entries(GREYS)) {
    if (grey === undefined) return;
    const chroma = grey.tint * CHROMA_PER_TINT;
    const shade = (grey.shade ?? 0) * LIGHTNESS_PER_SHADE;
    const of = (lightness: number) => `oklch(${Math.min(1, Math.max(0, lightness + shade))} ${chroma} ${grey.hue})`;
    set(`--${name}`, `light-dark(${of(light)}, ${of(dark)})`);
  }
}

function setAccent(host: HTMLElement, set: Apply, theme: ThemeOption): void {
  const accent = theme.color?.accent;
  set("--accent", accent?.primary);
  set("--on-accent", accent && readableOn(host, accent.primary));
  const percent = accent === undefined ? 0 : SOFT_PERCENT[accent.level];
  set("--accent-soft", accent && `color-mix(in oklab, ${accent.primary} ${percent}%, var(--surface))`);
}

/** White or black: the one that is easier to read on the colour. */
function readableOn(host: HTMLElement, color: string): string {
  const probe = document.createElement("canvas").getContext("2d");
  if (probe === null) return WHITE;
  probe.fillStyle = getComputedStyle(host).color;
  probe.fillStyle = color;
  probe.fillRect(0, 0, 1, 1);
  const [red = 0, green = 0, blue = 0] = probe.getImageData(0, 0, 1, 1).data;
  const linear = [red, green, blue].map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const [r = 0, g = 0, b = 0] = linear;
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (luminance + 0.05) >= 4.5 ? WHITE : BLACK;
}

/** Loads a font into the page, because a shadow root has no @font-face of its own. */
function load(font: FontObject): void {
  const key = JSON.stringify(font);
  if (loadedFonts.has(key)) return;
  loadedFonts.add(key);
  const face = new FontFace(font.family, `url(${JSON.stringify(font.src)})`, {
    ...(font.weight !== undefined && { weight: String(font.weight) }),
    ...(font.style !== undefined && { style: font.style }),
    ...(font.display !== undefined && { display: font.display }),
    ...(font.unicodeRange !== undefined && { unicodeRange: font.unicodeRange }),
  });
  document.fonts.add(face);
}
