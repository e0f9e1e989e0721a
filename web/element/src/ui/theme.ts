import type { ChatKitOptions, FontObject, ThemeOption } from "@openai/chatkit";
import {
  type Accents,
  accentsOf,
  type Given,
  isDark,
  isSoftReadable,
  mix,
  type Palette,
  paletteOf,
  type Rgb,
  type Tones,
} from "./palette.js";

const RADII = {
  pill: ["10px", "18px", "999px"],
  round: ["10px", "16px", "14px"],
  soft: ["6px", "8px", "8px"],
  sharp: ["0", "0", "0"],
};
const DENSITIES = { compact: "0.75", normal: "1", spacious: "1.3" };
const SOFT_PERCENT = [8, 12, 18, 26];
const SCHEMES = ["light", "dark"] as const;
type Scheme = (typeof SCHEMES)[number];

/** What the style sheet has (styles/base.css), for what a theme leaves as it is. */
export const BASE = {
  light: { page: "#ffffff", surface: "#ffffff", sunken: "#f4f6f8", raised: "#eef1f5", text: "#1a1e23" },
  dark: { page: "#15181c", surface: "#1c2026", sunken: "#101316", raised: "#262b33", text: "#e8ebef" },
};
export const TONES = {
  light: { success: "#17693a", warning: "#855400", danger: "#b3261e", discovery: "#6d3fc0" },
  dark: { success: "#7fd6a2", warning: "#f2c063", danger: "#ff9d94", discovery: "#c3a6ff" },
};

/**
 * For a site that gives the greys a hue: the lightness in both schemes, and how much of the tint each takes. Surfaces
 * take little of it, because a large one shows more than its share.
 */
const GREYS = {
  page: { light: 1, dark: 0.2, tint: 0.15 },
  surface: { light: 1, dark: 0.24, tint: 0.3 },
  text: { light: 0.22, dark: 0.94, tint: 1 },
};
const CHROMA_PER_TINT = 0.004;
const LIGHTNESS_PER_SHADE = 0.012;

/** The properties that this module has set on each element. All others are the page's. */
const applied = new WeakMap<HTMLElement, Set<string>>();
const loadedFonts = new Set<string>();

/**
 * Sets the site's `theme` as custom properties of the element. Properties that it does not name stay the style sheet's,
 * and all colours where one of them is none, which `told` hears.
 */
export function applyTheme(host: HTMLElement, given: ChatKitOptions["theme"], told: (error: Error) => void): void {
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
  for (const [name, value] of themeColors(host, theme.color, told)) set(name, value);
}

/** What the colours come to, and was found the last time that they were the same. */
const lastColors = new WeakMap<HTMLElement, { readonly given: string; readonly found: Map<string, string> }>();

function themeColors(
  host: HTMLElement,
  color: ThemeOption["color"],
  told: (error: Error) => void,
): Map<string, string> {
  if (color === undefined || !host.isConnected) return new Map();
  const given = JSON.stringify(color);
  const last = lastColors.get(host);
  if (last?.given === given) return last.found;
  let found = new Map<string, string>();
  try {
    readColors(host, (read) => {
      found = colorsOf(color, read);
    });
  } catch (error) {
    if (!(error instanceof NoColor)) throw error;
    told(error);
  }
  lastColors.set(host, { given, found });
  return found;
}

/** A colour as it is shown: in front of what is behind it, where it lets that through. */
interface Shown {
  rgb: Rgb;
  alpha: number;
}
type Read = (css: string) => Shown;
type ThemeColor = NonNullable<ThemeOption["color"]>;

/** The properties that follow from the theme's colours. Throws NoColor. */
function colorsOf(color: ThemeColor, read: Read): Map<string, string> {
  const { surface, grayscale, accent } = color;
  const found = new Map<string, string>();
  const palettes = {
    light: paletteOf(baseIn("light", grayscale, read), tonesIn("light", read)),
    dark: paletteOf(baseIn("dark", grayscale, read), tonesIn("dark", read)),
  };
  if (surface !== undefined) {
    const given = SCHEMES.map((scheme) => paletteOf(surfacesIn(scheme, color, read), tonesIn(scheme, read)));
    const scheme = given[0] !== undefined && isDark(given[0]) ? "dark" : "light";
    found.set("color-scheme", scheme);
    palettes[scheme] = given[SCHEMES.indexOf(scheme)] ?? palettes[scheme];
  }
  if (surface !== undefined || grayscale !== undefined) addColors(found, palettes.light, palettes.dark);
  if (surface !== undefined && read(surface.background).alpha < 1) found.set("--page", surface.background);
  const share = accent === undefined ? 0 : (SOFT_PERCENT[accent.level] ?? 0) / 100;
  const accents = accent === undefined ? null : accentsIn(palettes, read(accent.primary).rgb, share);
  if (accents !== null) addColors(found, accents.light, accents.dark);
  // A percentage cannot differ between the schemes, as a colour can.
  if (!SCHEMES.every((each) => isSoftReadable(palettes[each], accents?.[each] ?? null))) found.set("--soft-fill", "0%");
  return found;
}

function accentsIn(on: Record<Scheme, Palette>, accent: Rgb, share: number): Record<Scheme, Accents> {
  return { light: accentsOf(accent, share, on.light), dark: accentsOf(accent, share, on.dark) };
}

function addColors<Colors extends object>(found: Map<string, string>, light: Colors, dark: Colors): void {
  for (const name of Object.keys(light) as (keyof Colors & string)[]) {
    const property = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    found.set(property, `light-dark(${css(light[name] as Rgb)}, ${css(dark[name] as Rgb)})`);
  }
}

function css(rgb: Rgb): string {
  return `rgb(${rgb.join(" ")})`;
}

function tonesIn(scheme: Scheme, read: Read): Tones {
  const { success, warning, danger, discovery } = TONES[scheme];
  const of = (tone: string) => read(tone).rgb;
  return { success: of(success), warning: of(warning), danger: of(danger), discovery: of(discovery) };
}

/** The style sheet's surfaces and text, with the theme's hue where it has one. */
function baseIn(scheme: Scheme, grayscale: ThemeColor["grayscale"], read: Read): Given {
  const of = (name: keyof typeof BASE.light) => read(BASE[scheme][name]).rgb;
  if (grayscale === undefined) {
    return { page: of("page"), surface: of("surface"), sunken: of("sunken"), raised: of("raised"), text: of("text") };
  }
  const tinted = (name: keyof typeof GREYS) => read(grey(grayscale, name, scheme)).rgb;
  return { page: tinted("page"), surface: tinted("surface"), text: tinted("text") };
}

/** The surfaces that the theme gives. */
function surfacesIn(scheme: Scheme, { surface, grayscale }: ThemeColor, read: Read): Given {
  const base = baseIn(scheme, grayscale, read);
  const page = surface === undefined ? base.page : over(base.page, read(surface.background));
  const raised = surface === undefined ? base.surface : over(page, read(surface.foreground));
  const given = { page, surface: raised };
  return grayscale === undefined || base.text === undefined ? given : { ...given, text: base.text };
}

function over(behind: Rgb, { rgb, alpha }: Shown): Rgb {
  return mix(behind, rgb, alpha);
}

function grey(given: { hue: number; tint: number; shade?: number }, name: keyof typeof GREYS, scheme: Scheme): string {
  const lightness = GREYS[name][scheme] + (given.shade ?? 0) * LIGHTNESS_PER_SHADE;
  const chroma = given.tint * CHROMA_PER_TINT * GREYS[name].tint;
  return `oklch(${Math.min(1, Math.max(0, lightness))} ${chroma} ${given.hue})`;
}

/** What is no colour on this page: a word that is none, or a property that nobody has set. */
class NoColor extends Error {}

const SRGB = /^color\(srgb (\S+) (\S+) (\S+?)(?: \/ (\S+))?\)$/;

/** Reads colours as they are within the element, whose properties they may name. Throws NoColor. */
function readColors(host: HTMLElement, work: (read: Read) => void): void {
  const probe = document.createElement("span");
  (host.shadowRoot ?? host).append(probe);
  const known = new Map<string, Shown>();
  try {
    work((color) => {
      const before = known.get(color);
      if (before !== undefined) return before;
      probe.style.color = "";
      probe.style.color = `color-mix(in srgb, ${color}, ${color})`;
      const parts = SRGB.exec(probe.style.color === "" ? "" : getComputedStyle(probe).color);
      if (parts === null) throw new NoColor(`theme.color: ${JSON.stringify(color)} is no colour here.`);
      const of = (text: string | undefined) =>
        Math.round(255 * Math.min(1, Math.max(0, Number.parseFloat(text ?? "") || 0)));
      const shown: Shown = {
        rgb: [of(parts[1]), of(parts[2]), of(parts[3])],
        alpha: parts[4] === undefined ? 1 : Number.parseFloat(parts[4]) || 0,
      };
      known.set(color, shown);
      return shown;
    });
  } finally {
    probe.remove();
  }
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
