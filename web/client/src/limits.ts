/** The client's bounds of tries and of waits. */
export interface Limits {
  /** How often a message without an answer is sent. */
  readonly postTries: number;
  /** How often in a row the client reconnects to an answer that was cut; without a network no try counts. */
  readonly followTries: number;
  /** The longest wait between two tries in ms, and four times that where the server asks for it. */
  readonly maxWaitMs: number;
  /** The longest wait for the head of an answer, in ms. */
  readonly answerMs: number;
  /** After this silence a stream is connected again, in ms. The default is three times the server's PING_SECONDS. */
  readonly silenceMs: number;
}

export const LIMITS: Limits = {
  postTries: 6,
  followTries: 40,
  maxWaitMs: 15_000,
  answerMs: 30_000,
  silenceMs: 45_000,
};
