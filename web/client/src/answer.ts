import type { Ending, Follower } from "./follow.js";
import { EVENT_STREAM } from "./http.js";
import { errorEvent, type Messages, messageFor } from "./messages.js";
import { encodeEvent, type SseEvent } from "./sse.js";
import type { OnTelemetry } from "./telemetry.js";

/** The codes after which the run may still go on; Retry then attaches to it. */
const RETRIED = new Set(["connection_lost", "signed_out", "unauthenticated", "redirected"]);

/** The reports that an answer makes to its client. */
export interface AnswerHooks {
  readonly messages: Messages;
  /** Tells the site that the thread must be loaded anew; false where the site has no hook for it. */
  readonly reload: (gap: { runId: string; threadId: string | null }) => boolean;
  readonly onTelemetry: OnTelemetry;
  /** The answer is complete or its reader has left: a later abort is not the user's Stop. */
  readonly onOver: () => void;
}

/** The run's events as one unbroken answer, which ends with the run or with an `error` event that says why not. */
export function answerOf(follower: Follower, hooks: AnswerHooks): Response {
  const batches = follower.events();
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await batches.next();
        const events = next.done ? closingEvents(follower.runId, next.value, hooks) : next.value;
        const text = events.map(encodeEvent).join("");
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (!next.done) return;
        hooks.onOver();
        controller.close();
      },
      cancel() {
        hooks.onOver();
      },
    },
    { highWaterMark: 0 },
  );
  return streamed(body, follower.runId);
}

/**
 * The header field that names the reason of an answer that the client itself made: a code of docs/protocol.md or its
 * own.
 */
export const CODE_HEADER = "relaykit-code";

/** An answer of one `error` event, for a failure that no further try can mend. */
export function failedAnswer(code: string, message: string): Response {
  const answer = streamed(encodeEvent({ kind: "event", id: null, data: errorEvent(message, false) }), null);
  answer.headers.set(CODE_HEADER, code);
  return answer;
}

function streamed(body: BodyInit, runId: string | null): Response {
  const headers = new Headers({ "content-type": EVENT_STREAM, "cache-control": "no-store" });
  if (runId !== null) headers.set("x-run-id", runId);
  return new Response(body, { status: 200, headers });
}

function closingEvents(runId: string, ending: Ending, hooks: AnswerHooks): SseEvent[] {
  const failed = (code: string, serverMessage = ""): SseEvent[] => {
    hooks.onTelemetry({ type: "failed", code, runId });
    const message = messageFor(code, serverMessage, hooks.messages);
    return [{ kind: "event", id: null, data: errorEvent(message, RETRIED.has(code)) }];
  };
  switch (ending.kind) {
    case "ended":
      return ending.status === null ? [] : [{ kind: "comment", text: `end ${ending.status}` }];
    case "gone":
      return hooks.reload({ runId, threadId: ending.threadId }) ? [] : failed("journal_gone");
    case "refused":
      return failed(
        ending.refusal.code === "http" ? "connection_lost" : ending.refusal.code,
        ending.refusal.serverMessage,
      );
    case "lost":
      return failed(ending.code === "too_many_streams" ? ending.code : "connection_lost");
  }
}
