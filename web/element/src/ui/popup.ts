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

export type Side = "top" | "bottom" | "left" | "right";
export type Align = "start" | "center" | "end";

const MARGIN_PX = 6;

/**
 * Places an open popover beside its anchor, at the wanted side where it has room there, else at the other side. It
 * stays inside of the window.
 */
export function placeBeside(popover: HTMLElement, anchor: Element, side: Side, align: Align): void {
  const at = anchor.getBoundingClientRect();
  const { width, height } = popover.getBoundingClientRect();
  const isRtl = getComputedStyle(anchor).direction === "rtl";
  const along = (start: number, end: number, size: number, isReversed: boolean) => {
    if (align === "center") return (start + end - size) / 2;
    return (align === "start") !== isReversed ? start : end - size;
  };
  let top: number;
  let left: number;
  if (side === "left" || side === "right") {
    const [before, behind] = [at.left - MARGIN_PX - width, at.right + MARGIN_PX];
    const fits = side === "left" ? before >= 0 : behind + width <= innerWidth;
    left = (side === "left") === fits ? before : behind;
    top = along(at.top, at.bottom, height, false);
  } else {
    const [above, below] = [at.top - MARGIN_PX - height, at.bottom + MARGIN_PX];
    const fits = side === "top" ? above >= 0 : below + height <= innerHeight;
    top = (side === "top") === fits ? above : below;
    left = along(at.left, at.right, width, isRtl);
  }
  popover.style.setProperty("top", `${Math.max(MARGIN_PX, Math.min(top, innerHeight - height - MARGIN_PX))}px`);
  popover.style.setProperty("left", `${Math.max(MARGIN_PX, Math.min(left, innerWidth - width - MARGIN_PX))}px`);
}

/**
 * Keeps an open popover in its place while anything scrolls or the window changes. Returns what ends that; it also ends
 * once the anchor is out of the page, because a popover that is removed emits no `toggle`.
 */
export function keepPlace(anchor: Element, place: () => void): () => void {
  const leaving = new AbortController();
  const options = { signal: leaving.signal, capture: true, passive: true };
  const placeAgain = () => (anchor.isConnected ? place() : leaving.abort());
  for (const type of ["scroll", "resize"]) addEventListener(type, placeAgain, options);
  place();
  return () => leaving.abort();
}
