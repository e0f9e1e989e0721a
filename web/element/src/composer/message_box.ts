import type { TagPart, UserContent } from "../server/protocol.js";
import { fill, type Texts } from "../texts/index.js";
import { el, freshId } from "../ui/dom.js";
import { fitToText } from "../ui/grow.js";
import { icon } from "../ui/icons.js";
import { contentOf, type Mention, mentionOf, mentionsIn, withoutMention, written } from "./draft.js";
import { type Edit, type Span, withMark, withWords } from "./typing.js";

/** The text box of a message, and the tags that its text mentions. */
export class MessageBox {
  readonly node = el("textarea", { id: "message", rows: 1, "aria-describedby": "keys" });
  readonly label = el("label", { class: "unseen", for: "message" });
  /** The mentioned tags, as chips that can be removed. */
  readonly tags = el("ul", { id: freshId("tags"), class: "attachments", hidden: true });
  /** All tags that were chosen for this message. One whose mark is gone stays, because Undo may bring the mark back. */
  #mentions: readonly Mention[] = [];

  constructor(
    private texts: Texts,
    private readonly onChange: () => void,
  ) {
    this.setTexts(texts);
    this.node.addEventListener("input", () => this.#changed());
    let widthPx = 0;
    // The height is changed in the next frame: in this one the browser would report a loop to the page's window.
    const resized = () => {
      const isOther = this.node.clientWidth !== widthPx;
      widthPx = this.node.clientWidth;
      if (isOther) this.#grow();
    };
    new ResizeObserver(() => requestAnimationFrame(resized)).observe(this.node);
  }

  setTexts(texts: Texts): void {
    this.texts = texts;
    this.label.textContent = texts.composer.message;
    this.tags.setAttribute("aria-label", texts.composer.tags);
    this.#drawTags();
  }

  get isEmpty(): boolean {
    return this.node.value.trim() === "";
  }

  get content(): UserContent[] {
    return contentOf(this.node.value, this.#mentions);
  }

  get marks(): string[] {
    return this.#mentions.map(({ mark }) => mark);
  }

  get caret(): Span {
    return { start: this.node.selectionStart, end: this.node.selectionEnd };
  }

  /** Replaces the content. */
  set(content: readonly UserContent[]): void {
    const { text, mentions } = written(content);
    this.#mentions = mentions;
    this.#put({ text, caret: text.length });
  }

  /** Puts content before the present one, in a paragraph of its own. */
  putBefore(content: readonly UserContent[]): void {
    const { text, mentions } = written(content, this.#mentions);
    this.#mentions = mentions;
    const words = this.isEmpty ? text : `${text}\n\n${this.node.value}`;
    this.#put({ text: words, caret: words.length });
  }

  /** Inserts words at the caret. */
  insert(words: string): void {
    this.#put(withWords(this.node.value, this.caret, words));
  }

  /** Replaces a part of the text by a tag. */
  mention(tag: TagPart, span: Span): void {
    const mention = mentionOf(tag, this.#mentions);
    if (!this.#mentions.includes(mention)) this.#mentions = [...this.#mentions, mention];
    this.#put(withMark(this.node.value, span, mention.mark));
  }

  /** Replaces a part of the text by the words, exactly as they are. */
  replace({ start, end }: Span, words: string): void {
    const { value } = this.node;
    this.#put({ text: value.slice(0, start) + words + value.slice(end), caret: start + words.length });
  }

  #put({ text, caret }: Edit): void {
    this.node.value = text;
    this.node.setSelectionRange(caret, caret);
    this.#changed();
  }

  #changed(): void {
    this.#grow();
    this.#drawTags();
    this.onChange();
  }

  #grow(): void {
    fitToText(this.node);
  }

  #drawTags(): void {
    const shown = mentionsIn(this.node.value, this.#mentions);
    this.tags.hidden = shown.length === 0;
    this.tags.replaceChildren(...shown.map((mention) => this.#chip(mention)));
  }

  #chip(mention: Mention): HTMLElement {
    const name = fill(this.texts.composer.remove, { name: mention.mark });
    const remove = () => {
      const text = withoutMention(this.node.value, mention, this.#mentions);
      this.#mentions = this.#mentions.filter((other) => other !== mention);
      this.#put({ text, caret: text.length });
      this.node.focus();
    };
    const button = el("button", {
      type: "button",
      class: "icon-button small",
      "aria-label": name,
      on: { click: remove },
    });
    button.append(icon("close"));
    return el("li", { class: "chip tag" }, el("span", { class: "chip-name" }, mention.mark), button);
  }
}
