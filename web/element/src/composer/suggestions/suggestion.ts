import type { Span, Typed } from "../typing.js";

/** One of the things that are offered while a person types. */
export interface Suggestion {
  readonly label: string;
  readonly description?: string | undefined;
  readonly icon?: string | undefined;
  readonly group?: string | undefined;
  /** Puts it in the place of what was typed. */
  choose(span: Span): void;
}

/** Offers things for what is being typed. */
export interface SuggestionSource {
  /** The name of the list. */
  readonly label: string;
  /** What is being typed for this source, or null. */
  typed(text: string, caret: number): Typed | null;
  /** What is known at once. */
  now(query: string): readonly Suggestion[];
  /** Searches for more, shown behind the former; null where nothing is to be searched. */
  readonly later: ((query: string) => Promise<readonly Suggestion[]>) | null;
  /** Nothing is being typed for it any more. */
  left?(): void;
}

export interface Group {
  readonly label: string | undefined;
  readonly suggestions: readonly Suggestion[];
}

/** In groups as these come first, and those without a group before them. */
export function grouped(suggestions: readonly Suggestion[]): Group[] {
  const groups = new Map<string | undefined, Suggestion[]>([[undefined, []]]);
  for (const suggestion of suggestions) {
    const label = suggestion.group || undefined;
    groups.set(label, [...(groups.get(label) ?? []), suggestion]);
  }
  return [...groups]
    .map(([label, own]) => ({ label, suggestions: own }))
    .filter((group) => group.suggestions.length > 0);
}
