import type { Entity } from "@openai/chatkit";
import type { ComposerHost } from "../host.js";
import { mentionAt, type Span, type Typed } from "../typing.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** Behind an `@`: what the site finds to be mentioned. */
export class MentionSource implements SuggestionSource {
  /** @param marks of the mentions that are in the box @param insert puts an entity in the place of what was typed */
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
