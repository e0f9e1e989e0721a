import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const WEB = fileURLToPath(new URL("../../", import.meta.url));
const MAX_LINES = 300;
const MAX_COLUMNS = 120;

type Imports = ReadonlyMap<string, ReadonlySet<string>>;

function sources(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" });
  return names.filter((name) => /\.tsx?$/.test(name)).map((name) => name.replaceAll("\\", "/"));
}

/** The imports of each file, those of types included. */
function importsOf(root: string): Imports {
  const files = new Set(sources(root));
  const target = (file: string, path: string) => relative(root, join(root, dirname(file), path)).replaceAll("\\", "/");
  return new Map(
    [...files].map((file) => {
      const text = readFileSync(join(root, file), "utf8");
      const paths = [...text.matchAll(/from "(\.[^"]*)\.js"/g)].map(([, path = ""]) => target(file, path));
      return [
        file,
        new Set(paths.map((path) => [`${path}.ts`, `${path}.tsx`].find((name) => files.has(name)) ?? path)),
      ];
    }),
  );
}

/** The imports between the rooms: a folder at the top with all inside, or a file at the top. */
function roomsOf(imports: Imports): Imports {
  const roomOf = (file: string) => file.split("/")[0] ?? file;
  const rooms = new Map<string, Set<string>>();
  for (const [file, imported] of imports) {
    const room = rooms.get(roomOf(file)) ?? new Set();
    rooms.set(roomOf(file), room);
    for (const other of imported) if (roomOf(other) !== roomOf(file)) room.add(roomOf(other));
  }
  return rooms;
}

/** A circle of imports, or null. */
function circleIn(imports: Imports): readonly string[] | null {
  const done = new Set<string>();
  const search = (name: string, path: readonly string[]): readonly string[] | null => {
    if (path.includes(name)) return [...path.slice(path.indexOf(name)), name];
    if (done.has(name)) return null;
    for (const next of imports.get(name) ?? []) {
      const circle = search(next, [...path, name]);
      if (circle !== null) return circle;
    }
    done.add(name);
    return null;
  };
  for (const name of imports.keys()) {
    const circle = search(name, []);
    if (circle !== null) return circle;
  }
  return null;
}

describe.each(["client", "element", "react"])("web/%s", (name) => {
  const root = join(WEB, name, "src");

  it("has no file that is longer than one concept", () => {
    const long = sources(root).filter(
      (file) => readFileSync(join(root, file), "utf8").split("\n").length - 1 > MAX_LINES,
    );
    expect(long).toEqual([]);
  });

  it("has no comment that is wider than the code", () => {
    // The formatter wraps code and leaves comments alone.
    const wide = sources(root).flatMap((file) => {
      const comments = readFileSync(join(root, file), "utf8").matchAll(/^ *(?:\/\/|\/?\*).*$/gm);
      return [...comments].filter(([line]) => line.length > MAX_COLUMNS).map(([line]) => `${file}: ${line}`);
    });
    expect(wide).toEqual([]);
  });

  it("has no circle of imports between files, types included", () => {
    const imports = importsOf(root);
    const unknown = [...imports.values()].flatMap((imported) => [...imported].filter((file) => !imports.has(file)));
    expect(unknown).toEqual([]);
    expect(circleIn(imports)).toBeNull();
  });

  it("has no circle of imports between rooms", () => {
    expect(circleIn(roomsOf(importsOf(root)))).toBeNull();
  });
});

it("finds a circle where there is one", () => {
  const imports = new Map([
    ["a/one.ts", new Set(["b/two.ts"])],
    ["b/two.ts", new Set<string>()],
    ["b/three.ts", new Set(["a/one.ts"])],
  ]);
  expect(circleIn(imports)).toBeNull();
  expect(circleIn(roomsOf(imports))).toEqual(["a", "b", "a"]);
});
