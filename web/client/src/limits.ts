/** What the client waits for, and how long. */
export interface Limits {
  /** How often a message that nobody answers is sent again. */
  readonly postTries: number;
  /** How often in a row an answer that was cut is asked for again; without a network no try counts. */
  readonly followTries: number;
  /** The longest wait between two tries, ms; four times that where the server asks for it. */
  readonly maxWaitMs: number;
  /** For the head of an answer, ms. */
  readonly answerMs: number;
  /** A stream from which nothing comes for so long is made anew, ms: three of the server's PING_SECONDS. */
  readonly silenceMs: number;
}

export const LIMITS: Limits = {
  postTries: 6,
  followTries: 40,
  maxWaitMs: 15_000,
  answerMs: 30_000,
  silenceMs: 45_000,
};
