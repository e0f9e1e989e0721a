import type { Ending, Follower } from "./follow.js";
import { EVENT_STREAM } from "./http.js";
import { errorEvent, type Messages, messageFor } from "./messages.js";
import { encoded, type SseEvent } from "./sse.js";
import type { Telemetry } from "./telemetry.js";

/** After these the run may still be there, and Retry attaches to it. */
const RETRIED = new Set(["connection_lost", "signed_out", "unauthenticated", "redirected"]);

/** What an answer tells its client of. */
export interface AnswerHooks {
  readonly messages: Messages;
  /** Whether somebody was there to be told that the thread must be loaded anew. */
  readonly reload: (gap: { runId: string; threadId: string | null }) => boolean;
  readonly tell: (happened: Telemetry) => void;
  /** Nothing more comes, or nobody reads it: from here on an abort means nothing. */
  readonly over: () => void;
}

/** The run's events as one unbroken answer: it ends after the run's end, or after an `error` event that says why not. */
export function answerOf(follower: Follower, hooks: AnswerHooks): Response {
  const events = follower.events();
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await events.next();
        const given = next.done ? lastWords(follower.runId, next.value, hooks) : next.value;
        const text = given.map(encoded).join("");
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (!next.done) return;
        hooks.over();
        controller.close();
      },
      cancel() {
        hooks.over();
      },
    },
    { highWaterMark: 0 },
  );
  return streamed(body, follower.runId);
}

/** Names, in an answer that the client itself has made, the code of docs/protocol.md or of its own for why. */
export const CODE_HEADER = "relaykit-code";

/** An answer of one `error` event, for what cannot be mended. */
export function failedAnswer(code: string, message: string): Response {
  const answer = streamed(encoded({ kind: "event", id: null, data: errorEvent(message, false) }), null);
  answer.headers.set(CODE_HEADER, code);
  return answer;
}

function streamed(body: BodyInit, runId: string | null): Response {
  const headers = new Headers({ "content-type": EVENT_STREAM, "cache-control": "no-store" });
  if (runId !== null) headers.set("x-run-id", runId);
  return new Response(body, { status: 200, headers });
}

function lastWords(runId: string, ending: Ending, hooks: AnswerHooks): SseEvent[] {
  const failed = (code: string, said = ""): SseEvent[] => {
    hooks.tell({ type: "failed", code, runId });
    const message = messageFor(code, said, hooks.messages);
    return [{ kind: "event", id: null, data: errorEvent(message, RETRIED.has(code)) }];
  };
  switch (ending.kind) {
    case "ended":
      return ending.status === null ? [] : [{ kind: "comment", text: `end ${ending.status}` }];
    case "gone":
      return hooks.reload({ runId, threadId: ending.threadId }) ? [] : failed("journal_gone");
    case "refused":
      return failed(ending.refusal.code === "http" ? "connection_lost" : ending.refusal.code, ending.refusal.said);
    case "lost":
      return failed(ending.code === "too_many_streams" ? ending.code : "connection_lost");
  }
}
