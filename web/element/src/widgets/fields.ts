/**
 * Readers of a widget's fields. A server may send any JSON: a field that makes no sense is read as if it were absent.
 */

import { type Fields, isFields } from "../server/fields.js";
import type { WidgetAction, WidgetNode } from "../server/protocol.js";

export { type Fields, isFields } from "../server/fields.js";

export function isNode(value: unknown): value is WidgetNode {
  return isFields(value);
}

/** The value as text; "" where it cannot be shown as text. */
export function words(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** Like `words`, with null for no text. */
export function wordsOrNull(value: unknown): string | null {
  return words(value) || null;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function records(value: unknown): readonly Fields[] {
  return list(value).filter(isFields);
}

/** A token of ChatKit's such as `md` or `3xl`, which fits into a class name; null for other values. */
export function token(value: unknown): string | null {
  return typeof value === "string" && /^[\w-]+$/.test(value) ? value : null;
}

/** The class `prefix-token`; null where the value is no token. */
export function tokenClass(prefix: string, value: unknown): string | null {
  const name = token(value);
  return name && `${prefix}-${name}`;
}

export function classes(...names: readonly (string | null | undefined | false)[]): string {
  return names.filter(Boolean).join(" ");
}

export function actionOf(value: unknown): WidgetAction | null {
  return isFields(value) && typeof value.type === "string" ? (value as unknown as WidgetAction) : null;
}

/** The components inside a component. */
export function childrenOf(node: Fields): readonly unknown[] {
  if (Array.isArray(node.children)) return node.children;
  return node.children === undefined || node.children === null ? [] : [node.children];
}
