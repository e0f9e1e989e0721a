import { childrenOf, isFields, words } from "./fields.js";

export interface Growth {
  readonly path: string;
  readonly value: string;
}

const GROWING = new Set<unknown>(["Text", "Markdown"]);

/**
 * The texts in which a widget differs from what it was, or null where it differs in anything else.
 *
 * A widget that is being written grows by its texts: they change where they stand, and nothing else is touched.
 */
export function growthOf(before: unknown, after: unknown, path = ""): Growth[] | null {
  if (before === after) return [];
  if (!isFields(before) || !isFields(after)) return null;
  const mayGrow = GROWING.has(before.type) && !before.editable;
  const apart = new Set(["children", "streaming", ...(mayGrow ? ["value"] : [])]);
  if (!isSame(before, after, apart)) return null;
  const grown = mayGrow && before.value !== after.value ? [{ path, value: words(after.value) }] : [];
  const [old, now] = [childrenOf(before), childrenOf(after)];
  if (old.length !== now.length || Array.isArray(before.children) !== Array.isArray(after.children)) return null;
  const inside = now.map((child, index) => growthOf(old[index], child, `${path}.${index}`));
  return inside.some((one) => one === null) ? null : [...grown, ...inside.flatMap((one) => one ?? [])];
}

function isSame(before: object, after: object, apart: ReadonlySet<string>): boolean {
  const rest = (fields: object) =>
    JSON.stringify(
      Object.entries(fields)
        .filter(([name]) => !apart.has(name))
        .sort(),
    );
  return rest(before) === rest(after);
}
