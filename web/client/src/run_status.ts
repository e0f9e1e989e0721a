/** How a run has ended. */
export type RunStatus = "completed" | "failed" | "cancelled";

const ENDED: ReadonlySet<unknown> = new Set<RunStatus>(["completed", "failed", "cancelled"]);

/** Whether the status of a run's row is one of an ended run. */
export function isEnded(status: unknown): status is RunStatus {
  return ENDED.has(status);
}

/** The status that a stream's comment names as the end of its run; undefined for every other comment. */
export function endOf(comment: string): RunStatus | undefined {
  const status = /^end (\w+)$/.exec(comment)?.[1];
  return isEnded(status) ? status : undefined;
}
