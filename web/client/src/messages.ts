/** The texts of the errors that the client itself adds to a conversation, by code. A site may replace each of them. */
export const MESSAGES = {
  signed_out: "You are signed out. Sign in again to go on.",
  unauthenticated: "You are signed out. Sign in again to go on.",
  redirected: "The server asks you to sign in again. Reload the page to go on.",
  no_token: "Your sign-in could not be renewed, and your message was not sent.",
  not_sent: "The server could not be reached, and your message was not sent. Check your connection and send it again.",
  maybe_sent: "The server could not be reached. Reload the page to see whether your message was sent.",
  connection_lost: "The connection was lost. The answer is still being written: reload the page to see it.",
  journal_gone: "A part of this answer could not be shown. Reload the page to see all of it.",
  run_not_found: "This answer is not there any more. Reload the page.",
  thread_busy: "Another answer is still being written here. Wait for its end and send your message again.",
  rate_limited: "Too many requests at once. Wait a moment and send your message again.",
  tenant_rate_limited: "Too many requests at once. Wait a moment and send your message again.",
  too_many_bodies: "Too many requests at once. Wait a moment and send your message again.",
  too_many_queued: "Too many messages are waiting. Wait a moment and send your message again.",
  too_many_runs: "Too many answers are being written for you at once. Wait for one to end and send your message again.",
  too_many_streams: "Too many conversations are open at once. Close one and reload this page.",
  busy: "The server is very busy, and your message was not sent. Wait a moment and send it again.",
  http: "The server could not do that. Your message was not sent.",
} as const;

export type Messages = Record<keyof typeof MESSAGES, string>;

/** An `error` event of ChatKit (openai-chatkit, `ErrorEvent`), as the data of a server-sent event. */
export function errorEvent(message: string, allowRetry: boolean): string {
  return JSON.stringify({ type: "error", code: "custom", message, allow_retry: allowRetry });
}

/** The message for the person: the text for the code, else the server's message, else the text for any failure. */
export function messageFor(code: string, serverMessage: string, messages: Messages): string {
  return (messages as Record<string, string>)[code] || serverMessage || messages.http;
}
