import { sourceKey } from "../markdown/citations.js";
import type { Source } from "../server/protocol.js";
import { fill } from "../texts/index.js";
import { el, externalLink } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { drawnPart } from "../ui/undrawn.js";
import type { ViewContext } from "../ui/view_context.js";
import { entityChip, entityOfSource } from "./entities.js";
import { cardOf, offerPreview } from "./entity_preview.js";

/**
 * The reference in a text to a source. It leads to the source, or to its line in the list, and shows a card of the
 * source while the pointer or the focus is on it.
 */
export function citation(source: Source, number: number, context: ViewContext, toList: () => void): HTMLElement {
  return el("sup", { class: "cite" }, pressable(source, number, context, toList));
}

function pressable(source: Source, number: number, context: ViewContext, toList: () => void): HTMLElement {
  const { items } = context.texts;
  const title = sourceTitle(source, context);
  const card = () => Promise.resolve(sourceCard(source, context));
  if (source.type === "url" && source.url) {
    const link = externalLink(source.url, String(number));
    link.setAttribute("aria-label", fill(items.source, { number }));
    if (link.localName === "a") offerPreview(link, card, context);
    return link;
  }
  const label = fill(items.sourceNamed, { number, title });
  const isEntity = source.type === "entity";
  const inside = (isEntity && (source.inline_label || (source.icon && icon(source.icon)))) || String(number);
  if (isEntity) {
    const chip = entityChip(entityOfSource(source), context, "cite-chip", el("span", {}, inside));
    if (chip.localName === "button") {
      chip.setAttribute("aria-label", label);
      return chip;
    }
  }
  const button = el("button", { type: "button", "aria-label": label, on: { click: toList } }, inside);
  offerPreview(button, card, context);
  return button;
}

/** What the list below the answer says of a source. */
function sourceCard(source: Source, context: ViewContext): ReturnType<typeof cardOf> {
  const { type, url = "", filename, label, attribution, description } = source;
  const title = sourceTitle(source, context);
  const host = type === "url" && URL.canParse(url) ? new URL(url).host : null;
  const from = label || attribution || host || (filename !== title ? filename : null);
  return cardOf(title, [from, description], type === "entity" ? source.icon : null);
}

/** The sources of an answer. */
export class SourceList {
  readonly node: HTMLElement;
  readonly #lines = el("ol");
  #key = "";

  constructor(private readonly context: ViewContext) {
    const title = context.texts.items.sources;
    this.node = el(
      "section",
      { class: "sources", "aria-label": title, hidden: true },
      el("h3", {}, title),
      this.#lines,
    );
  }

  update(sources: readonly Source[]): void {
    const key = JSON.stringify(sources);
    if (key === this.#key) return;
    this.#key = key;
    this.node.hidden = sources.length === 0;
    this.#lines.replaceChildren(
      ...sources.map((source) => drawnPart("source", this.context, () => this.#line(source))),
    );
  }

  /** Focuses the line of a source, which scrolls it into view and has it read aloud. */
  goTo(source: Source): void {
    const key = sourceKey(source);
    for (const line of this.#lines.querySelectorAll<HTMLElement>("li")) {
      if (line.dataset.source === key) line.focus();
    }
  }

  #line(source: Source): HTMLElement {
    const { attribution, description } = source;
    return el(
      "li",
      { "data-source": sourceKey(source), tabindex: "-1" },
      sourceName(source, this.context),
      source.type === "file" && source.title && source.filename !== source.title && muted(source.filename),
      muted(attribution),
      muted(description),
    );
  }
}

function muted(text: string | null | undefined): HTMLElement | null {
  return text ? el("span", { class: "muted" }, ` ${text}`) : null;
}

/** The name of a source, as a link, an entity's button, or text. */
export function sourceName(source: Source, context: ViewContext): HTMLElement {
  const title = sourceTitle(source, context);
  if (source.type === "url" && source.url) return externalLink(source.url, title);
  if (source.type === "file") return el("span", { class: "source-name" }, icon("document"), title);
  const parts = [...(source.icon ? [icon(source.icon)] : []), document.createTextNode(title)];
  return source.type === "entity"
    ? entityChip(entityOfSource(source), context, "source-name", ...parts)
    : el("span", {}, title);
}

function sourceTitle({ title, url, filename, label, id }: Source, { texts }: ViewContext): string {
  return title || label || filename || url || id || texts.items.untitledSource;
}
