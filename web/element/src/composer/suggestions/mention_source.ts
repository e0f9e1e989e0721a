import type { Entity } from "@openai/chatkit";
import type { ComposerHost } from "../host.js";
import { mentionAt, type Span, type Typed } from "../typing.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** Suggestions for an `@`: the entities that the site finds. */
export class MentionSource implements SuggestionSource {
  /** @param marks the marks of the mentions in the box @param insert replaces the typed query by an entity */
  constructor(
    private readonly host: () => ComposerHost,
    private readonly marks: () => readonly string[],
    private readonly insert: (entity: Entity, span: Span) => void,
  ) {}

  get label(): string {
    return this.host().texts.composer.mentions;
  }

  typed(text: string, caret: number): Typed | null {
    return this.host().options.entities?.onTagSearch ? mentionAt(text, caret, this.marks()) : null;
  }

  now(): readonly Suggestion[] {
    return [];
  }

  get later(): SuggestionSource["later"] {
    const search = this.host().options.entities?.onTagSearch;
    if (!search) return null;
    return async (query) =>
      (await search(query)).map((entity) => ({
        label: entity.title,
        icon: entity.icon,
        group: entity.group,
        choose: (span) => this.insert(entity, span),
      }));
  }
}
