import { el } from "./dom.js";
import type { ViewContext } from "./view_context.js";

/**
 * A part of an item, drawn by itself: where it cannot be, a few words stand in its place, and the rest of the item is
 * shown.
 *
 * @param part what the site is told that it was
 */
export function drawnPart(part: string, context: Pick<ViewContext, "texts" | "notDrawn">, draw: () => Node): Node {
  try {
    return draw();
  } catch (error) {
    context.notDrawn(part, error);
    return el("span", { class: "muted" }, context.texts.items.partNotShown);
  }
}
