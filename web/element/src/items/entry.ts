import { el } from "../ui/dom.js";

/** The frame of one item in the conversation. */
export function entry(
  who: string,
  label: string,
  ...children: readonly (Node | null | undefined | false | readonly Node[])[]
): HTMLElement {
  return el("article", { class: `entry ${who}`, "aria-label": label }, ...children);
}
