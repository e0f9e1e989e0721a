import type { Span, Typed } from "../typing.js";

/** A suggestion that is offered while a person types. */
export interface Suggestion {
  readonly label: string;
  readonly description?: string | undefined;
  readonly icon?: string | undefined;
  readonly group?: string | undefined;
  /** Replaces the typed query by the suggestion. */
  choose(span: Span): void;
}

/** A source of suggestions for the text that is being typed. */
export interface SuggestionSource {
  /** The name of the list. */
  readonly label: string;
  /** The query that is being typed for this source, or null. */
  typed(text: string, caret: number): Typed | null;
  /** The suggestions that are known at once. */
  now(query: string): readonly Suggestion[];
  /** Searches for further suggestions, which are shown behind the others; null where there is no search. */
  readonly later: ((query: string) => Promise<readonly Suggestion[]>) | null;
  /** Called when the person has stopped typing for this source. */
  left?(): void;
}

export interface Group {
  readonly label: string | undefined;
  readonly suggestions: readonly Suggestion[];
}

/** The suggestions in groups, in the order of first occurrence. Those without a group come first. */
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
