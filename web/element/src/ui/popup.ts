/** The space between a popup, the box below it, and the edge of the element. */
const GAP_PX = 14;
/** The least height of a popup: two lines. */
const MIN_PX = 96;

/** Lets a popup above its box grow as high as the element has room. */
export function fit(popup: HTMLElement, box: Element | null): void {
  if (box === null) return;
  const root = popup.getRootNode();
  const top = root instanceof ShadowRoot ? Math.max(0, root.host.getBoundingClientRect().top) : 0;
  const room = box.getBoundingClientRect().top - top - GAP_PX;
  popup.style.setProperty("--room", `${Math.max(MIN_PX, Math.floor(room))}px`);
}
