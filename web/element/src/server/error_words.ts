import { MESSAGES } from "@relaykit/client";
import type { Texts } from "../texts/index.js";

type Words = keyof Texts["shell"];

/** The element's own words by the code of an error (docs/protocol.md). */
const WORDS: Readonly<Record<string, Words>> = {
  signed_out: "signedOut",
  unauthenticated: "signedOut",
  redirected: "signedOut",
  no_token: "noSignIn",
  not_sent: "notSent",
  maybe_sent: "maybeSent",
  network: "unreachable",
  busy: "busy",
  queue_full: "busy",
  overloaded: "busy",
  stopping: "busy",
  server_blocked: "busy",
  database_unavailable: "busy",
  queue_unavailable: "busy",
  too_many_connections: "busy",
  bad_gateway: "busy",
  unavailable: "busy",
  gateway_timeout: "busy",
  thread_busy: "threadBusy",
  too_many_runs: "tooManyRuns",
  too_many_queued: "tooManyRuns",
  rate_limited: "tooManyRequests",
  tenant_rate_limited: "tooManyRequests",
  too_many_bodies: "tooManyRequests",
  body_too_large: "tooLarge",
  message_too_large: "tooLarge",
  thread_not_found: "notThere",
  item_not_found: "notThere",
  run_not_found: "notThere",
  attachment_not_found: "notThere",
};

/** The words for an error: the element's own by its code, in the page's language; else the server's. */
export function wordsFor(code: string, message: string, { shell }: Texts): string {
  const key = Object.hasOwn(WORDS, code) ? WORDS[code] : undefined;
  return key === undefined ? message : shell[key];
}

/** The same for an error of the client's, whose words a site may have replaced: those stay. */
export function wordsOfClient(code: string, message: string, texts: Texts): string {
  const standard = Object.hasOwn(MESSAGES, code) ? MESSAGES[code as keyof typeof MESSAGES] : message;
  return message === standard ? wordsFor(code, message, texts) : message;
}
