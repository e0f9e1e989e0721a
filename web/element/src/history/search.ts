import type { Texts } from "../texts/index.js";
import { el } from "../ui/dom.js";

/** The wait after a key, so that a word is searched for once and not at each letter. */
const TYPING_MS = 150;

/** The field for the words that the titles of threads are searched for. */
export class Search {
  readonly node = el("input", {
    id: "search-threads",
    class: "field",
    type: "search",
    autocomplete: "off",
    hidden: true,
  });
  #query = "";

  constructor(
    private readonly texts: () => Texts,
    onChange: () => void,
  ) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const search = () => {
      clearTimeout(timer);
      const query = this.node.value.trim();
      if (query === this.#query) return;
      this.#query = query;
      onChange();
    };
    this.node.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, TYPING_MS);
    });
    this.node.addEventListener("search", search);
    this.node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || this.node.value === "") return;
      // Escape empties the field first; the next one closes the list, or stops an answer.
      event.stopPropagation();
      event.preventDefault();
      this.node.value = "";
      search();
    });
    this.setTexts();
  }

  /** The words as the list shows their threads. */
  get query(): string {
    return this.#query;
  }

  setTexts(): void {
    const { search } = this.texts().shell;
    this.node.placeholder = search;
    this.node.setAttribute("aria-label", search);
  }
}
