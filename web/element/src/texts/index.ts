import { COMPOSER } from "./composer.js";
import { ITEMS } from "./items.js";
import { SHELL } from "./shell.js";

export interface Texts {
  readonly shell: typeof SHELL;
  readonly items: typeof ITEMS;
  readonly composer: typeof COMPOSER;
}

export const ENGLISH: Texts = { shell: SHELL, items: ITEMS, composer: COMPOSER };

/** A text with its `{names}` filled in. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? String(values[name]) : whole));
}
