import { expect, test } from "vitest";
import { color, length, seriesColor, spacing } from "../../src/widgets/style.js";

test("a token of ChatKit's is a colour of the theme", () => {
  expect(color("secondary")).toBe("var(--muted)");
  expect(color("surface-elevated-secondary")).toBe("var(--sunken)");
});

test("a primitive token is darker the higher its number, and gray has next to no colour", () => {
  const [light, dark] = [color("red-100"), color("red-900")].map((value) =>
    Number(/oklch\(([\d.]+)/.exec(value ?? "")?.[1]),
  );
  expect(light).toBeGreaterThan(dark ?? 1);
  expect(color("gray-500")).toBe("oklch(0.6 0.01 0)");
});

test("a pair is one colour for each theme", () => {
  expect(color({ light: "#fff", dark: "gray-500" })).toBe("light-dark(#fff, oklch(0.6 0.01 0))");
  expect(color({ light: "#fff" })).toBe("#fff");
});

test("any other text is CSS's to know, and what is no text is no colour", () => {
  expect(color("rebeccapurple")).toBe("rebeccapurple");
  expect(color("constructor")).toBe("constructor");
  for (const value of [undefined, null, 5, "", [], {}]) expect(color(value)).toBeNull();
});

test("a bare hue is a chart's own colour", () => {
  expect(seriesColor("blue")).toBe(color("blue-500"));
  expect(seriesColor({ light: "blue", dark: "red-200" })).toBe(color({ light: "blue-500", dark: "red-200" }));
});

test("numbers are pixels, or four of them each in a distance", () => {
  expect([length(3), length("50%"), length(undefined)]).toEqual(["3px", "50%", null]);
  expect([spacing(3), spacing(0), spacing("1em")]).toEqual(["12px", "0px", "1em"]);
});
