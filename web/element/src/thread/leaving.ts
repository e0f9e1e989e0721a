import type { ThreadActivity } from "@relaykit/client";

/** The result of the work; null where the page has left the thread meanwhile, also after a failure. */
export async function unlessLeft<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result | null> {
  try {
    const result = await work();
    return signal.aborted ? null : result;
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

/**
 * The result of the work; null where the page has left the thread meanwhile. Where the work fails, the answer of the
 * thread's active run is cancelled, because nobody reads it.
 */
export function unlessLeftOrFailed<Result>(
  signal: AbortSignal,
  activity: Promise<ThreadActivity>,
  work: () => Promise<Result>,
): Promise<Result | null> {
  return unlessLeft(signal, async () => {
    try {
      return await work();
    } catch (error) {
      const [asked] = await Promise.allSettled([activity]);
      if (asked.status === "fulfilled") await asked.value.run?.response.body?.cancel();
      throw error;
    }
  });
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
