const KEY = "relaykit.effects.";

/** Whether an effect is to be applied. Each one is applied once a visit, although a reload replays its run. */
export function isFresh(runId: string | null, cursor: string | null): boolean {
  if (runId === null || cursor === null) return true;
  const key = KEY + runId;
  const applied = sessionStorage.getItem(key);
  if (applied !== null && compareCursors(cursor, applied) <= 0) return false;
  try {
    sessionStorage.setItem(key, cursor);
  } catch {
    // The storage is full, so a reload will apply the effect again; that is better than never.
  }
  return true;
}

/** Compares two cursors, which are two numbers each: the attempt and the place in it (docs/protocol.md). */
export function compareCursors(one: string, other: string): number {
  const [attempt = 0, place = 0] = one.split("-").map(Number);
  const [otherAttempt = 0, otherPlace = 0] = other.split("-").map(Number);
  return attempt - otherAttempt || place - otherPlace;
}
