/** Readers of a widget's fields. A server may send any JSON: a field that makes no sense is read as if it were absent. */

import { type Fields, isFields } from "../server/fields.js";
import type { WidgetAction, WidgetNode } from "../server/protocol.js";

export { type Fields, isFields } from "../server/fields.js";

export function isNode(value: unknown): value is WidgetNode {
  return isFields(value);
}

/** What can be shown as text; else "". */
export function words(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

/** As `words`, null for no text. */
export function wordsOrNull(value: unknown): string | null {
  return words(value) || null;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function records(value: unknown): readonly Fields[] {
  return list(value).filter(isFields);
}

/** One of ChatKit's tokens, `md` or `3xl`, as a part of a class name; else null. */
export function token(value: unknown): string | null {
  return typeof value === "string" && /^[\w-]+$/.test(value) ? value : null;
}

/** `prefix-token`, where there is a token. */
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

/** The components inside of one. */
export function childrenOf(node: Fields): readonly unknown[] {
  if (Array.isArray(node.children)) return node.children;
  return node.children === undefined || node.children === null ? [] : [node.children];
}
