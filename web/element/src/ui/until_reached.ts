import { ApiError } from "../server/api.js";

const FIRST_WAIT_MS = 1_000;
const MAX_WAIT_MS = 15_000;

/**
 * The result of the work, which is done again until the server is reached: after a growing wait, or as soon as the
 * network or the person is back. Throws each other ApiError, and the last one once the signal aborts.
 *
 * @param onUnreached called after the first failure
 */
export async function untilReached<Result>(
  signal: AbortSignal,
  work: () => Promise<Result>,
  onUnreached: (error: ApiError) => void,
): Promise<Result> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isUnreached || signal.aborted) throw error;
      if (tries === 0) onUnreached(error);
      await untilBack(Math.min(FIRST_WAIT_MS * 2 ** tries, MAX_WAIT_MS), signal);
      if (signal.aborted) throw error;
    }
  }
}

/** Resolves after `ms`, when the network or the person is back, or when the signal aborts. */
async function untilBack(ms: number, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  const heard = { signal: over.signal };
  let timer: ReturnType<typeof setTimeout> | undefined;
  await new Promise<void>((resolve) => {
    const back = () => resolve();
    timer = setTimeout(back, ms);
    for (const type of ["online", "focus"]) window.addEventListener(type, back, heard);
    document.addEventListener("visibilitychange", back, heard);
    signal.addEventListener("abort", back, heard);
  });
  clearTimeout(timer);
  over.abort();
}
