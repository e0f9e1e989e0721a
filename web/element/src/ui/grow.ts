/** Makes a text box as high as its text. A hidden box has no height to measure. */
export function fitToText(box: HTMLTextAreaElement): void {
  box.style.setProperty("height", "auto");
  const borderPx = box.offsetHeight - box.clientHeight;
  if (box.scrollHeight > 0) box.style.setProperty("height", `${box.scrollHeight + borderPx}px`);
}

/** Keeps a text box as high as its text in a browser without `field-sizing`. */
export function growByText(box: HTMLTextAreaElement): void {
  if (CSS.supports("field-sizing", "content")) return;
  box.addEventListener("input", () => fitToText(box));
  // A box that is being drawn is not in the page yet.
  requestAnimationFrame(() => fitToText(box));
}
