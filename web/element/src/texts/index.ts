import { COMPOSER } from "./composer.js";
import { ITEMS } from "./items.js";
import { SHELL } from "./shell.js";

export interface Texts {
  readonly shell: typeof SHELL;
  readonly items: typeof ITEMS;
  readonly composer: typeof COMPOSER;
}

export const ENGLISH: Texts = { shell: SHELL, items: ITEMS, composer: COMPOSER };

/** The text with its `{names}` replaced by the values. */
export function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? String(values[name]) : whole));
}
