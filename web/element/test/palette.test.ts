import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type Accents,
  accentsOf,
  contrast,
  isSoftReadable,
  mix,
  type Palette,
  paletteOf,
  type Rgb,
} from "../src/ui/palette.js";
import { BASE, TONES as BASE_TONES } from "../src/ui/theme.js";

const TONES = {
  light: { success: hex("#17693a"), warning: hex("#855400"), danger: hex("#b3261e"), discovery: hex("#6d3fc0") },
  dark: { success: hex("#7fd6a2"), warning: hex("#f2c063"), danger: hex("#ff9d94"), discovery: hex("#c3a6ff") },
};
const [white, black, grey, otherGrey] = [hex("#ffffff"), hex("#000000"), hex("#808080"), hex("#757575")];
/** Between white and black, and at mid grey, there is no room for a fill behind a tone. */
const HARD: [Rgb, Rgb, Rgb, number][] = [
  [white, black, hex("#888888"), 0.12],
  [grey, otherGrey, hex("#7a7a7a"), 0.18],
  [otherGrey, otherGrey, black, 0.12],
];
const color = fc.tuple(byte(), byte(), byte());

test("text is readable on everything that it stands on, whatever surfaces and accent are given", () => {
  fc.assert(
    fc.property(color, color, color, fc.constantFrom(0.08, 0.12, 0.18, 0.26), (page, surface, accent, share) => {
      const palette = paletteOf({ page, surface }, TONES.light);
      const accents = accentsOf(accent, share, palette);
      expectReadable(palette, accents);
      expectSoftReadable(palette, accents);
    }),
    { examples: HARD },
  );
});

test("a theme's own text is kept where it can be read, and moved where it cannot", () => {
  const page = hex("#ffffff");
  expect(paletteOf({ page, surface: page, text: hex("#1a1e23") }, TONES.light).text).toEqual(hex("#1a1e23"));
  const moved = paletteOf({ page, surface: page, text: hex("#eeeeee") }, TONES.light).text;
  expect(contrast(moved, page)).toBeGreaterThanOrEqual(4.5);
});

test("surfaces stay what the site gives: the dark theme of upstream's metro map", () => {
  const palette = paletteOf({ page: hex("#0d1117"), surface: hex("#1d222b") }, TONES.dark);
  expect([palette.page, palette.surface]).toEqual([hex("#0d1117"), hex("#1d222b")]);
  expect(contrast(palette.text, palette.page)).toBeGreaterThan(13);
  expect(contrast(palette.text, palette.surface)).toBeGreaterThan(10);
  expect(isSoftReadable(palette, null)).toBe(true);
});

test("what a theme leaves as it is are the colours of the style sheet", () => {
  const sheet = readFileSync(new URL("../src/styles/base.css", import.meta.url), "utf8");
  for (const base of [BASE, BASE_TONES]) {
    for (const [name, light] of Object.entries(base.light)) {
      const dark = Object.entries(base.dark).find(([each]) => each === name)?.[1];
      expect(sheet).toContain(`--${name}: light-dark(${light}, ${dark});`);
    }
  }
});

function expectReadable(palette: Palette, accents: Accents): void {
  const { page, surface, sunken, raised, text, muted, success, warning, danger, discovery } = palette;
  for (const under of [page, surface, accents.accentSoft]) {
    expect(contrast(text, under)).toBeGreaterThanOrEqual(4.5);
    expect(contrast(accents.accentText, under)).toBeGreaterThanOrEqual(4.5);
  }
  for (const each of [text, muted, success, warning, danger, discovery, accents.accentText]) {
    for (const under of [page, surface, sunken, raised]) expect(contrast(each, under)).toBeGreaterThanOrEqual(4.5);
  }
  for (const tone of [success, warning, danger, discovery, muted, text]) {
    expect(contrast(palette.toneText, tone)).toBeGreaterThanOrEqual(4.5);
  }
  expect(contrast(accents.onAccent, accents.accent)).toBeGreaterThanOrEqual(4.5);
  for (const under of [page, surface]) expect(contrast(palette.controlLine, under)).toBeGreaterThanOrEqual(3);
}

/** On a soft fill of itself, which `--soft-fill` takes away where it is in the way. */
function expectSoftReadable(palette: Palette, accents: Accents): void {
  const { surface, text, muted, success, warning, danger, discovery } = palette;
  const fill = isSoftReadable(palette, accents) ? 0.14 : 0;
  for (const tone of [text, muted, success, warning, danger, discovery, accents.accentText]) {
    expect(contrast(mix(text, tone, 0.88), mix(surface, tone, fill))).toBeGreaterThanOrEqual(4.5);
  }
}

function byte() {
  return fc.integer({ min: 0, max: 255 });
}

function hex(text: string): Rgb {
  const part = (at: number) => Number.parseInt(text.slice(at, at + 2), 16);
  return [part(1), part(3), part(5)];
}
