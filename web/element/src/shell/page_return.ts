/** The shortest time between two calls. */
const EVERY_MS = 3_000;

/** Calls `onReturn` when the user comes back to the page, or the network does, until the signal aborts. */
export function whenReturned(onReturn: () => void, signal: AbortSignal): void {
  let calledAtMs = 0;
  const call = () => {
    if (document.hidden || Date.now() - calledAtMs < EVERY_MS) return;
    calledAtMs = Date.now();
    onReturn();
  };
  for (const type of ["focus", "online"]) window.addEventListener(type, call, { signal });
  document.addEventListener("visibilitychange", call, { signal });
}
