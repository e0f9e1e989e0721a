import { el } from "./dom.js";
import type { ViewContext } from "./view_context.js";

/**
 * Draws a part of an item by itself. Where that fails a few words stand in its place, and the rest of the item is
 * shown.
 *
 * @param part the name of the part for the site
 */
export function drawnPart(part: string, context: Pick<ViewContext, "texts" | "notDrawn">, draw: () => Node): Node {
  try {
    return draw();
  } catch (error) {
    context.notDrawn(part, error);
    return el("span", { class: "muted" }, context.texts.items.partNotShown);
  }
}
