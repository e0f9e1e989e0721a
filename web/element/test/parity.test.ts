import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const TYPES = readFileSync(join(ROOT, "web/node_modules/@openai/chatkit/types/index.d.ts"), "utf8");
const TABLE = readFileSync(join(ROOT, "docs/browser-parity.md"), "utf8");

/** Types that are values of their own in the table: their fields are rows below the type's name. */
const OWN_ROWS = ["Entity", "Command", "CommandSelection", "Attachment", "UserMessageContent"];

/** The source without comments. */
const SOURCE = TYPES.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");

/** The text behind `start` up to the bracket that closes the one at its end. */
function inside(source: string, start: number): string {
  let depth = 0;
  for (let at = start; at < source.length; at += 1) {
    if ("{([".includes(source[at] ?? "")) depth += 1;
    if ("})]".includes(source[at] ?? "")) depth -= 1;
    if (depth < 0) return source.slice(start, at);
  }
  throw new Error("a bracket is not closed");
}

/** The members of an object type: name and type, as text. */
function membersOf(body: string): [name: string, type: string][] {
  const members: [string, string][] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at <= body.length; at += 1) {
    const sign = body[at] ?? ";";
    if ("{([<".includes(sign)) depth += 1;
    if ("})]".includes(sign) || (sign === ">" && body[at - 1] !== "=")) depth -= 1;
    if (sign !== ";" || depth > 0) continue;
    const found = /^\s*'?([\w.]+)'?\??\s*(:|\()([\s\S]*)$/.exec(body.slice(from, at));
    if (found) members.push([found[1] ?? "", `${found[2]}${found[3]}`]);
    from = at + 1;
  }
  return members;
}

/** A type without all that stands inside of its brackets. */
function topLevel(type: string): string {
  let depth = 0;
  let kept = "";
  for (const sign of type) {
    if ("})]".includes(sign)) depth -= 1;
    if (depth === 0) kept += sign;
    if ("{([".includes(sign)) depth += 1;
  }
  return kept;
}

/** The bodies of the object types that a type consists of: inline ones, and named ones of this file. */
function bodiesOf(type: string): string[] {
  if (topLevel(type).includes("=>")) return [];
  const inline = [...type.matchAll(/\{/g)].filter(({ index }) => {
    const before = type.slice(0, index);
    return before.split("{").length === before.split("}").length;
  });
  const bodies = inline.map(({ index }) => inside(type, index + 1));
  const outer = bodies.reduce((rest, body) => rest.replace(body, ""), type);
  for (const [name] of outer.matchAll(/\b[A-Z]\w+\b/g)) {
    if (!OWN_ROWS.includes(name)) bodies.push(...bodiesOf(typeNamed(name)));
  }
  return bodies;
}

function typeNamed(name: string): string {
  const found = new RegExp(`export type ${name} =([\\s\\S]*?)\\n(?:\\};|[^\\n]*;\\n)`).exec(SOURCE);
  if (!found) return "";
  const start = (found.index ?? 0) + `export type ${name} =`.length;
  const end = SOURCE.indexOf("\nexport ", start);
  return SOURCE.slice(start, end < 0 ? undefined : end);
}

/** The paths of an options type: `composer.models.id`. */
function pathsOf(type: string, prefix: string): string[] {
  const members = bodiesOf(type).flatMap(membersOf);
  return members.flatMap(([name, inner]) => {
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const below = pathsOf(inner, path);
    return below.length > 0 ? below : [path];
  });
}

function methods(): string[] {
  const start = SOURCE.indexOf("export interface OpenAIChatKit");
  const body = inside(SOURCE, SOURCE.indexOf("{", start) + 1);
  return [...new Set(membersOf(body).map(([name]) => name))].flatMap((name) => {
    const found = new RegExp(`\\b${name}\\(params: \\{`).exec(body);
    if (!found) return [`${name}()`];
    const params = membersOf(inside(body, (found.index ?? 0) + found[0].length));
    return params.map(([param]) => `${name}({ ${param} })`);
  });
}

const NAMES = new Set([
  ...pathsOf(typeNamed("ChatKitOptions"), ""),
  ...OWN_ROWS.flatMap((name) => pathsOf(typeNamed(name), name)),
  ...methods(),
  ...membersOf(bodiesOf(typeNamed("ChatKitEvents"))[0] ?? "").map(([name]) => name),
]);

/** The rows of the table: the names in its first cell, and the tests in its last. */
const ROWS = TABLE.split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) => line.split(/(?<!\\)\|/).map((cell) => cell.trim()))
  .filter(({ length }) => length === 5)
  .map((cells) => ({ names: quoted(cells[1] ?? ""), tests: quoted(cells.at(-2) ?? "") }));

function quoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text);
}

/** The tests of the page and of the packages, by name. */
function knownTests(): Set<string> {
  const known = new Set<string>();
  for (const [folder, pattern] of [
    ["tests/e2e", /^(?:async )?def (test_\w+)/gm],
    ["web/element/test", /\bit\("([^"]+)"/g],
  ] as const) {
    for (const file of readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })) {
      if (!/\.(?:py|ts)$/.test(file)) continue;
      for (const [, name = ""] of readFileSync(join(ROOT, folder, file), "utf8").matchAll(pattern)) known.add(name);
    }
  }
  return known;
}

describe("docs/browser-parity.md", () => {
  it("reads the types", () => {
    for (const name of [
      "api.url",
      "api.getClientSecret",
      "header.leftAction.icon",
      "theme.typography.fontSources.unicodeRange",
      "composer.attachments.maxSize",
      "entities.onRequestPreview",
      "Entity.data",
      "sendUserMessage({ newThread })",
      "focusComposer()",
      "chatkit.log",
      "thread.autoScroll",
    ]) {
      expect([...NAMES]).toContain(name);
    }
  });

  it("has a row for each option, method and event of the types, and none for another name", () => {
    const rows = ROWS.flatMap(({ names }) => names);
    expect([...NAMES].filter((name) => !rows.includes(name))).toEqual([]);
    expect(rows.filter((name) => !NAMES.has(name))).toEqual([]);
  });

  it("names tests that there are in each row", () => {
    const known = knownTests();
    expect(ROWS.filter(({ tests }) => tests.length === 0)).toEqual([]);
    expect(ROWS.flatMap(({ tests }) => tests).filter((name) => !known.has(name))).toEqual([]);
  });
});
