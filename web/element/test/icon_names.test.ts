import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { headerIconName } from "../src/shell/header_icon_name.js";
import { ENGLISH } from "../src/texts/index.js";
import { lucideShapes } from "../src/ui/lucide.js";

const TYPES = fileURLToPath(new URL("../../node_modules/@openai/chatkit/types/index.d.ts", import.meta.url));

it("has words for each header button of ChatKit's types", () => {
  const [, names = ""] = /export type HeaderIcon =([^;]*);/.exec(readFileSync(TYPES, "utf8")) ?? [];
  const icons = [...names.matchAll(/'([\w-]+)'/g)].map(([, name = ""]) => name);
  expect(icons.length).toBeGreaterThan(40);
  const words = new Set<string>(Object.values(ENGLISH.shell));
  expect(icons.filter((icon) => !words.has(headerIconName(icon, ENGLISH.shell)))).toEqual([]);
});

it("finds Lucide's icons by their names, also those with numbers and those that were renamed", () => {
  for (const name of ["rocket", "arrow-down-a-z", "move-3d", "grid-2x2", "arrow-down-0-1", "edit", "home"]) {
    expect(lucideShapes(name)?.length, name).toBeGreaterThan(0);
  }
  for (const name of ["no-such-icon", "constructor", "__proto__", ""]) expect(lucideShapes(name), name).toBeNull();
});
