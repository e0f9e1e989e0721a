import { fill } from "../../texts/index.js";
import type { ComposerHost } from "../host.js";
import { matches, type Typed } from "../typing.js";
import { LatestSearch } from "./latest_search.js";
import { SuggestionList } from "./list.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** A search begins after the person has not typed for this time. */
const PAUSE_MS = 120;

/** The text being typed that a source can suggest for. */
interface ActiveQuery extends Typed {
  readonly source: SuggestionSource;
}

/** Offers suggestions while a person types into the message box. */
export class Suggestions {
  readonly #list: SuggestionList;
  readonly #search: LatestSearch<readonly Suggestion[]>;
  #active: ActiveQuery | null = null;
  /** The query whose list the person closed. */
  #dismissed: ActiveQuery | null = null;
  #found: readonly Suggestion[] = [];
  #hasFailed = false;

  /** @param sources the first one that the typed text is meant for is searched */
  constructor(
    private readonly box: HTMLTextAreaElement,
    private readonly host: () => ComposerHost,
    private readonly sources: readonly SuggestionSource[],
  ) {
    this.#list = new SuggestionList(box, (suggestion) => this.#choose(suggestion));
    this.#search = new LatestSearch(
      (found) => this.#answered(found, false),
      (error) => {
        host().emit("chatkit.error", { error });
        this.#answered([], true);
      },
    );
    for (const type of ["input", "click", "keyup"]) box.addEventListener(type, () => this.refresh());
    box.addEventListener("blur", () => this.close());
  }

  get node(): HTMLElement {
    return this.#list.node;
  }

  /** Searches for the text that is being typed now. */
  refresh(): void {
    const query = this.#typed();
    if (query === null) {
      this.#dismissed = null;
      this.close();
      return;
    }
    if (isSamePlace(query, this.#dismissed)) return;
    this.#dismissed = null;
    if (isSamePlace(query, this.#active) && query.query === this.#active?.query) return;
    this.#begin(query);
  }

  /** Searches again for the same text. */
  again(): void {
    this.#active = null;
    this.#dismissed = null;
    this.refresh();
  }

  close(): void {
    this.#active?.source.left?.();
    this.#active = null;
    this.#found = [];
    this.#search.drop();
    if (this.#list.isOpen) this.#list.hide();
  }

  /** Whether the list has handled the key. */
  key(event: KeyboardEvent): boolean {
    if (!this.#list.isOpen || event.isComposing) return false;
    const isMeant = this.#act(event);
    if (isMeant) {
      event.preventDefault();
      event.stopPropagation();
    }
    return isMeant;
  }

  #act({ key, shiftKey }: KeyboardEvent): boolean {
    const { active } = this.#list;
    if (key === "Escape") {
      this.#dismissed = this.#active;
      this.close();
      return true;
    }
    if (key === "ArrowDown" || key === "ArrowUp") {
      this.#list.move(key === "ArrowDown" ? 1 : -1);
      return active !== null;
    }
    if (key === "Tab" && (shiftKey || active === null)) this.close();
    if (shiftKey || (key !== "Enter" && key !== "Tab")) return false;
    if (active !== null) this.#choose(active);
    // Enter during a search is swallowed, because the person does not want to send half a title.
    return active !== null || (key === "Enter" && this.#search.isAsking);
  }

  #typed(): ActiveQuery | null {
    const { value, selectionStart, selectionEnd } = this.box;
    if (selectionStart !== selectionEnd) return null;
    for (const source of this.sources) {
      const typed = source.typed(value, selectionStart);
      if (typed !== null) return { ...typed, source };
    }
    return null;
  }

  #begin(active: ActiveQuery): void {
    const { source, query } = active;
    if (this.#active?.source !== source) this.#active?.source.left?.();
    // The suggestions that still match stay until the search brings newer ones.
    const isFirst = !isSamePlace(active, this.#active);
    this.#found = isFirst ? [] : this.#found.filter(({ label }) => matches(label, query));
    this.#active = active;
    this.#hasFailed = false;
    const { later } = source;
    if (later === null) this.#search.drop();
    else this.#search.ask(() => later(query), isFirst ? 0 : PAUSE_MS);
    this.#draw(0);
  }

  #answered(found: readonly Suggestion[], hasFailed: boolean): void {
    this.#found = found;
    this.#hasFailed = hasFailed;
    const { texts, announcer } = this.host();
    const count = this.#draw(Math.max(0, this.#list.activeIndex));
    if (!this.#list.isOpen) return;
    announcer.say(hasFailed ? texts.composer.searchFailed : fill(texts.composer.found, { count }));
  }

  /** Draws the list and returns how many suggestions it shows. */
  #draw(active: number): number {
    if (this.#active === null) return 0;
    const { source, query } = this.#active;
    const suggestions = [...source.now(query), ...this.#found];
    // A text with spaces for which there is no suggestion is most likely the message and not a title.
    if (suggestions.length > 0 || !/\s/.test(query)) {
      this.#list.show(source.label, suggestions, active, this.#note(suggestions.length));
    } else if (this.#list.isOpen) {
      this.#list.hide();
    }
    return suggestions.length;
  }

  #note(count: number): string | null {
    const { searching, searchFailed, nothingFound } = this.host().texts.composer;
    if (this.#hasFailed) return searchFailed;
    if (this.#search.isAsking) return searching;
    return count === 0 ? nothingFound : null;
  }

  #choose(suggestion: Suggestion): void {
    const span = this.#active?.span;
    this.close();
    if (span) suggestion.choose(span);
  }
}

function isSamePlace(one: ActiveQuery, other: ActiveQuery | null): boolean {
  return one.source === other?.source && one.span.start === other.span.start;
}
