import { ApiError } from "../server/api.js";
import type { Announcer } from "./announcer.js";

export const FAILED = Symbol("failed");

/** The listeners to a failed request. */
export interface FailureListeners {
  /** Shows the message to the person. */
  readonly announcer: Announcer;
  /** Tells the page. */
  readonly failed: (error: unknown) => void;
}

/**
 * The result of the work, or FAILED after an ApiError, which the person and the page are told. Other errors are thrown.
 */
export async function reportFailure<Result>(
  work: Promise<Result>,
  { announcer, failed }: FailureListeners,
): Promise<Result | typeof FAILED> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    announcer.toast(error.message);
    failed(error);
    return FAILED;
  }
}
