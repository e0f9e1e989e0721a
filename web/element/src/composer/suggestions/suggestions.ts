import { fill } from "../../texts/index.js";
import type { ComposerHost } from "../host.js";
import { matches, type Typed } from "../typing.js";
import { LatestSearch } from "./latest_search.js";
import { SuggestionList } from "./list.js";
import type { Suggestion, SuggestionSource } from "./suggestion.js";

/** So long a person has to stop typing for the next search. */
const PAUSE_MS = 120;

interface Asked extends Typed {
  readonly source: SuggestionSource;
}

/** Offers what is searched for while a person types into the message box. */
export class Suggestions {
  readonly #list: SuggestionList;
  readonly #search: LatestSearch<readonly Suggestion[]>;
  #asked: Asked | null = null;
  /** The person closed the list of this one. */
  #dismissed: Asked | null = null;
  #found: readonly Suggestion[] = [];
  #hasFailed = false;

  /** @param box the message box @param sources the first for which something is being typed is asked */
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

  /** Looks at what is being typed now. */
  refresh(): void {
    const asked = this.#typed();
    if (asked === null) {
      this.#dismissed = null;
      this.close();
      return;
    }
    if (isSamePlace(asked, this.#dismissed)) return;
    this.#dismissed = null;
    if (isSamePlace(asked, this.#asked) && asked.query === this.#asked?.query) return;
    this.#ask(asked);
  }

  /** Asks again, though what is typed is the same. */
  again(): void {
    this.#asked = null;
    this.#dismissed = null;
    this.refresh();
  }

  close(): void {
    this.#asked?.source.left?.();
    this.#asked = null;
    this.#found = [];
    this.#search.drop();
    if (this.#list.isOpen) this.#list.hide();
  }

  /** Whether a key was meant for the list. */
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
      this.#dismissed = this.#asked;
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
    // Whoever presses Enter too soon does not want to send half a title.
    return active !== null || (key === "Enter" && this.#search.isAsking);
  }

  #typed(): Asked | null {
    const { value, selectionStart, selectionEnd } = this.box;
    if (selectionStart !== selectionEnd) return null;
    for (const source of this.sources) {
      const typed = source.typed(value, selectionStart);
      if (typed !== null) return { ...typed, source };
    }
    return null;
  }

  #ask(asked: Asked): void {
    const { source, query } = asked;
    if (this.#asked?.source !== source) this.#asked?.source.left?.();
    // Until there are newer ones those remain that still may be meant.
    const isFirst = !isSamePlace(asked, this.#asked);
    this.#found = isFirst ? [] : this.#found.filter(({ label }) => matches(label, query));
    this.#asked = asked;
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

  /** How many are shown. */
  #draw(active: number): number {
    if (this.#asked === null) return 0;
    const { source, query } = this.#asked;
    const suggestions = [...source.now(query), ...this.#found];
    // What is found nowhere and has spaces is most likely no title, but the message.
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
    const span = this.#asked?.span;
    this.close();
    if (span) suggestion.choose(span);
  }
}

function isSamePlace(one: Asked, other: Asked | null): boolean {
  return one.source === other?.source && one.span.start === other.span.start;
}
