/** Space between a popup, the box that it stands on and the edge of the element. */
const GAP_PX = 14;
/** What is shown in any case: two lines. */
const MIN_PX = 96;

/** Lets a popup that opens upwards from its box grow as high as there is room in the element. */
export function fit(popup: HTMLElement, box: Element | null): void {
  if (box === null) return;
  const root = popup.getRootNode();
  const top = root instanceof ShadowRoot ? Math.max(0, root.host.getBoundingClientRect().top) : 0;
  const room = box.getBoundingClientRect().top - top - GAP_PX;
  popup.style.setProperty("--room", `${Math.max(MIN_PX, Math.floor(room))}px`);
}
