/**
 * The colours that follow from those that a site gives: text can be read on all that it stands on, whatever is given.
 *
 * 4.5 : 1 is what WCAG 2.2 asks of text (1.4.3), 3 : 1 of what bounds a control (1.4.11).
 */

/** Red, green, blue in sRGB, 0 to 255. */
export type Rgb = readonly [number, number, number];

const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [16, 19, 22];
const SOFT_TEXTS: readonly Rgb[] = [
  [232, 235, 239],
  [26, 30, 35],
];
const TEXT_CONTRAST = 4.5;
const SOFT_CONTRAST = 7;
const CONTROL_CONTRAST = 3;
const STEPS = 40;
const SUNKEN = 0.035;
const RAISED = 0.08;
const LINE = 0.16;
const MUTED = 0.38;
const SOFT_FILL = 0.14;
const SOFT_TEXT = 0.88;

/** What a theme gives of one colour scheme; text and the like are there where they do not have to follow. */
export interface Given {
  page: Rgb;
  /** Of the composer, cards, menus. */
  surface: Rgb;
  sunken?: Rgb;
  raised?: Rgb;
  text?: Rgb;
}

/** Colours of states that are text as well. */
export interface Tones {
  success: Rgb;
  warning: Rgb;
  danger: Rgb;
  discovery: Rgb;
}

export interface Palette extends Tones {
  page: Rgb;
  surface: Rgb;
  sunken: Rgb;
  raised: Rgb;
  line: Rgb;
  controlLine: Rgb;
  text: Rgb;
  muted: Rgb;
  /** On a fill of a tone. */
  toneText: Rgb;
}

export interface Accents {
  accent: Rgb;
  /** On a fill of the accent. */
  onAccent: Rgb;
  /** The accent as text and as the line around what has the focus. */
  accentText: Rgb;
  /** Behind text. */
  accentSoft: Rgb;
}

/** The palette of two surfaces. */
export function paletteOf(given: Given, tones: Tones): Palette {
  const { page } = given;
  const surface = besideThe(page, given.surface);
  const under = [page, surface];
  const text = readable(given.text ?? bestText(under), under, bestText(under));
  const sunken = given.sunken ?? tinted(page, text, SUNKEN);
  const raised = given.raised ?? tinted(surface, text, RAISED);
  const all = [page, surface, sunken, raised];
  const asTone = (color: Rgb) => toneOf(color, all, surface, text);
  return {
    page,
    surface,
    sunken,
    raised,
    line: mix(surface, text, LINE),
    controlLine: readable(mix(surface, text, LINE), under, text, CONTROL_CONTRAST),
    text,
    muted: asTone(mix(text, page, MUTED)),
    success: asTone(tones.success),
    warning: asTone(tones.warning),
    danger: asTone(tones.danger),
    discovery: asTone(tones.discovery),
    toneText: page, // each tone can be read on it
  };
}

/** The accent on a palette's surfaces. `share` of it, 0 to 1, is in what is behind text; less where text asks so. */
export function accentsOf(accent: Rgb, share: number, on: Palette): Accents {
  const accentSoft = tinted(on.surface, accent, share, on.text);
  return {
    accent,
    onAccent: [WHITE, BLACK].find((text) => contrast(text, accent) >= TEXT_CONTRAST) ?? [0, 0, 0],
    accentText: toneOf(accent, [on.page, on.surface, on.sunken, on.raised, accentSoft], on.surface, on.text),
    accentSoft,
  };
}

/** Whether all tones can be read on a soft fill of themselves. Otherwise the fill has to be the surface alone. */
export function isSoftReadable(on: Palette, accents: Accents | null): boolean {
  const { surface, text, muted, success, warning, danger, discovery } = on;
  const tones = [text, muted, success, warning, danger, discovery, ...(accents === null ? [] : [accents.accentText])];
  return tones.every((tone) => softContrast(tone, surface, text, SOFT_FILL) >= TEXT_CONTRAST);
}

/** Whether light text stands on these surfaces, as in a dark colour scheme. */
export function isDark(palette: Pick<Palette, "page" | "text">): boolean {
  return luminance(palette.text) > luminance(palette.page);
}

/** The ratio of WCAG 2.2, 1 to 21. */
export function contrast(one: Rgb, other: Rgb): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** The surface, moved towards the page as far as it takes that some text is readable on both. */
function besideThe(page: Rgb, surface: Rgb): Rgb {
  for (let step = 0; step < STEPS; step++) {
    const moved = mix(surface, page, step / STEPS);
    if (least(bestText([page, moved]), [page, moved]) >= TEXT_CONTRAST) return moved;
  }
  return page;
}

/** Nearly white or nearly black; white, black, or the grey between them where that is easier to read on these. */
function bestText(under: readonly Rgb[]): Rgb {
  const soft = mostOf(SOFT_TEXTS, under);
  if (least(soft, under) >= SOFT_CONTRAST) return soft;
  const ends = mostOf([WHITE, BLACK], under);
  if (least(ends, under) >= TEXT_CONTRAST) return ends;
  const greys = Array.from({ length: 256 }, (_, value): Rgb => [value, value, value]);
  return mostOf(greys, under);
}

/** The colour, or as much of `text` in it as it takes to be told from all of these. */
function readable(color: Rgb, under: readonly Rgb[], text: Rgb, needed = TEXT_CONTRAST): Rgb {
  for (let step = 0; step < STEPS; step++) {
    const mixed = mix(color, text, step / STEPS);
    if (least(mixed, under) >= needed) return mixed;
  }
  return text;
}

/**
 * A colour that can be read on all of these, and on a soft fill of itself. Where no mix with `text` can, it is one that
 * can be read on the surface without a fill; `isSoftReadable` tells which it is.
 */
function toneOf(color: Rgb, under: readonly Rgb[], surface: Rgb, text: Rgb): Rgb {
  for (const fill of [SOFT_FILL, 0]) {
    for (let step = 0; step < STEPS; step++) {
      const tone = mix(color, text, step / STEPS);
      if (softContrast(tone, surface, text, fill) >= TEXT_CONTRAST && least(tone, under) >= TEXT_CONTRAST) return tone;
    }
  }
  return text;
}

/** Of the soft text of a tone on its soft fill, as styles/widgets/controls.css has both. */
function softContrast(tone: Rgb, surface: Rgb, text: Rgb, fill: number): number {
  return contrast(mix(text, tone, SOFT_TEXT), mix(surface, tone, fill));
}

/** The surface with so much of the colour, or as much as leaves `text` readable on it. */
function tinted(surface: Rgb, color: Rgb, share: number, text: Rgb = color): Rgb {
  for (let step = STEPS; step > 0; step--) {
    const mixed = mix(surface, color, (share * step) / STEPS);
    if (contrast(text, mixed) >= TEXT_CONTRAST) return mixed;
  }
  return surface;
}

function mostOf(colors: readonly Rgb[], under: readonly Rgb[]): Rgb {
  return colors.reduce((best, color) => (least(color, under) > least(best, under) ? color : best));
}

function least(color: Rgb, under: readonly Rgb[]): number {
  return Math.min(...under.map((each) => contrast(color, each)));
}

/** Rounded, because that is what is shown, and what has to be readable. */
export function mix(one: Rgb, other: Rgb, share: number): Rgb {
  const part = (index: 0 | 1 | 2) => Math.round(one[index] * (1 - share) + other[index] * share);
  return [part(0), part(1), part(2)];
}

function luminance([red, green, blue]: Rgb): number {
  const linear = (part: number) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}
