import type { Command, CommandSelection, Entity } from "@openai/chatkit";
import { fill } from "../../texts/index.js";
import type { ComposerHost } from "../host.js";
import { commandAt, matches, type Span, type Typed } from "../typing.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** The changes that commands make to the message box. */
export interface CommandPlace {
  /** The composer's own commands. */
  builtIn(): readonly Suggestion[];
  /** Removes the typed query from the box. */
  cut(span: Span): void;
  /** Inserts an entity at the caret. */
  insert(entity: Entity): void;
  /** Puts a `/` before the text, for the search in another menu. */
  begin(): void;
}

/** Suggestions for a `/` that begins the text: the composer's commands and the site's. */
export class CommandSource implements SuggestionSource {
  /** The menu that a command has opened; null for the first menu. */
  #menu: readonly Command[] | null = null;

  constructor(
    private readonly host: () => ComposerHost,
    private readonly place: CommandPlace,
  ) {}

  get label(): string {
    return this.host().texts.composer.commands;
  }

  typed(text: string, caret: number): Typed | null {
    return this.host().options.commands?.enabled ? commandAt(text, caret) : null;
  }

  now(query: string): readonly Suggestion[] {
    if (this.#menu === null) return matching(this.place.builtIn(), query);
    return matching(
      this.#menu.map((command) => this.#suggestion(command)),
      query,
    );
  }

  get later(): SuggestionSource["later"] {
    const search = this.host().options.commands?.onSearch;
    if (this.#menu !== null || !search) return null;
    return async (query) => (await search(query)).map((command) => this.#suggestion(command));
  }

  left(): void {
    this.#menu = null;
  }

  #suggestion(command: Command): Suggestion {
    const { description, icon, group } = command;
    return { label: labelOf(command), description, icon, group, choose: (span) => this.#run(command, span) };
  }

  async #run(command: Command, span: Span): Promise<void> {
    this.place.cut(span);
    const host = this.host();
    try {
      const selection = await host.options.commands?.onSelect?.(command);
      if (selection) this.#follow(selection);
    } catch (error) {
      host.announcer.toast(fill(host.texts.composer.commandFailed, { command: labelOf(command) }));
      host.emit("chatkit.error", { error });
    }
  }

  #follow(selection: CommandSelection): void {
    if (selection.type === "menu") {
      this.#menu = selection.commands;
      this.place.begin();
    } else {
      this.place.insert(selection.entity);
    }
  }
}

/** The label. The id stands in for a missing one, because the command comes from the site's code. */
function labelOf({ label, id }: Command): string {
  return String(label ?? id ?? "");
}

function matching(suggestions: readonly Suggestion[], query: string): readonly Suggestion[] {
  return suggestions.filter(({ label }) => matches(label, query));
}
