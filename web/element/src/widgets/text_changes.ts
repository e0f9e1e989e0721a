import { childrenOf, isFields, words } from "./fields.js";

export interface TextChange {
  readonly path: string;
  readonly value: string;
}

const GROWING = new Set<unknown>(["Text", "Markdown"]);

/**
 * The changed texts of a widget; null where anything else has changed too.
 *
 * A widget that is being written mostly grows by its texts, which can be changed in place without a redrawing.
 */
export function textChanges(before: unknown, after: unknown, path = ""): TextChange[] | null {
  if (before === after) return [];
  if (!isFields(before) || !isFields(after)) return null;
  const mayGrow = GROWING.has(before.type) && !before.editable;
  const ignored = new Set(["children", "streaming", ...(mayGrow ? ["value"] : [])]);
  if (!isSame(before, after, ignored)) return null;
  const changed = mayGrow && before.value !== after.value ? [{ path, value: words(after.value) }] : [];
  const [old, now] = [childrenOf(before), childrenOf(after)];
  if (old.length !== now.length || Array.isArray(before.children) !== Array.isArray(after.children)) return null;
  const inside = now.map((child, index) => textChanges(old[index], child, `${path}.${index}`));
  return inside.some((one) => one === null) ? null : [...changed, ...inside.flatMap((one) => one ?? [])];
}

function isSame(before: object, after: object, ignored: ReadonlySet<string>): boolean {
  const rest = (fields: object) =>
    JSON.stringify(
      Object.entries(fields)
        .filter(([name]) => !ignored.has(name))
        .sort(),
    );
  return rest(before) === rest(after);
}
