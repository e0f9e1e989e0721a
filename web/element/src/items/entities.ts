import type { Entity } from "@openai/chatkit";
import type { Source, TagPart } from "../server/protocol.js";
import { el } from "../ui/dom.js";
import type { ViewContext } from "../ui/view_context.js";
import { cardOf, offerPreview } from "./entity_preview.js";

export function entityOfTag({ id, text, data, group, interactive }: TagPart): Entity {
  return entity({ id, title: text, data, group, icon: null, interactive });
}

export function entityOfSource({ id, title, data, icon, interactive }: Source): Entity {
  return entity({ id: id ?? "", title: title ?? "", data, group: null, icon, interactive });
}

interface Named {
  readonly id: string;
  readonly title: string;
  readonly data: Record<string, unknown> | undefined;
  readonly group: string | null | undefined;
  readonly icon: string | null | undefined;
  readonly interactive: boolean | undefined;
}

function entity({ id, title, data, group, icon, interactive }: Named): Entity {
  return {
    id,
    title,
    ...(data && { data: data as Record<string, string> }),
    ...(group && { group }),
    ...(icon && { icon }),
    interactive: interactive ?? false,
  };
}

/**
 * An entity's name. It is a button with a preview where the entity is interactive and the page handles clicks or
 * previews. Without either callback, what the entity says of itself is its preview.
 */
export function entityChip(one: Entity, context: ViewContext, className: string, ...children: Node[]): HTMLElement {
  const { onClick, onRequestPreview } = context.options.entities ?? {};
  if (!one.interactive) return el("span", { class: className }, children);
  if (!(onClick || onRequestPreview)) return namedOnly(one, context, className, children);
  const button = el(
    "button",
    { type: "button", class: `${className} entity`, on: { click: () => onClick?.(one) } },
    children,
  );
  if (onRequestPreview) offerPreview(button, async () => (await onRequestPreview(one)).preview, context);
  return button;
}

/** The name with a card of the entity's own fields; without a card where these say nothing more than the name. */
function namedOnly(one: Entity, context: ViewContext, className: string, children: readonly Node[]): HTMLElement {
  const { title, group, icon } = one;
  if (!group && !icon) return el("span", { class: className }, children);
  const chip = el("span", { class: `${className} entity`, tabindex: 0 }, children);
  offerPreview(chip, () => Promise.resolve(cardOf(title, [group], icon)), context);
  return chip;
}
