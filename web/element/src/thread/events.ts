import type { ApiError } from "../server/api.js";
import type { AssistantMessage, Thread } from "../server/protocol.js";
import type { AwaitedCall } from "./awaited_call.js";

/** The notices of the conversation to the rest of the element. */
export interface ConversationEvents {
  /** The view must be drawn anew. */
  changed(): void;
  /** Another thread is open, or the thread's title or status has changed. */
  threadChanged(): void;
  /** A run that began on this page has created or changed the thread; null where the page did not see how. */
  threadsChanged(thread: Thread | null): void;
  /** A run of the open thread began on this page. */
  runBegan(threadId: string, runId: string | null): void;
  /** The page has left the thread, whose runs go on. */
  leftRunning(threadId: string): void;
  /** The server refused a request. */
  refused(error: ApiError): void;
  /** A run sent a `client_effect`. */
  effect(name: string, data: Record<string, unknown>): void;
  /** An answer is complete. */
  answered(message: AssistantMessage): void;
  /** A run was cancelled. */
  stopped(): void;
  /** A run has ended. The status is null where the answer did not tell it. */
  runEnded(runId: string | null, status: string | null): void;
  /** A turn has begun, or is over. */
  responding(isResponding: boolean): void;
  /** A run has failed, with the message that its events have. */
  failed(message: string): void;
  /** A run has ended with a client tool call, and this page may give its output. */
  awaiting(call: AwaitedCall): void;
}
