import fc from "fast-check";
import { expect, it } from "vitest";
import { createChatKitFetch, readEvents } from "../src/index.js";
import { answer, type Entry, wire } from "./backend.js";

interface Cut {
  /** The number of bytes after which the connection is cut. */
  readonly bytes: number;
  readonly chunk: number;
  /** Whether the cut is an error, or looks like the regular end. */
  readonly broken: boolean;
  /** The number of entries before the cursor that are sent again, which a correct server never does. */
  readonly overlap: number;
}

const cut: fc.Arbitrary<Cut> = fc.record({
  bytes: fc.nat({ max: 1_200 }),
  chunk: fc.integer({ min: 1, max: 300 }),
  broken: fc.boolean(),
  overlap: fc.nat({ max: 3 }),
});

const QUICK = { maxWaitMs: 0, followTries: 1_000, postTries: 10 };

it("gives the same events whatever the cuts of the byte stream, at any byte, any number of times", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 12 }), fc.array(cut, { maxLength: 25 }), async (deltas, cuts) => {
      const entries = answer(deltas);
      const fetch = createChatKitFetch({
        url: "http://api.test/chatkit",
        limits: QUICK,
        fetch: cutting(entries, [...cuts]),
      });
      const response = await fetch("http://api.test/chatkit", { method: "POST", body: '{"type":"threads.create"}' });
      const received = [];
      for await (const { event, cursor } of readEvents(response)) received.push({ id: cursor, event });
      expect(received).toEqual(entries);
    }),
    { numRuns: 300 },
  );
});

/** A server whose connections are cut as `cuts` says, one after the other. The next one is not cut. */
function cutting(entries: readonly Entry[], cuts: Cut[]): typeof globalThis.fetch {
  return async (_input, init) => {
    const after = new Headers(init?.headers).get("last-event-id");
    const cut = cuts.shift();
    const next = entries.findIndex((entry) => entry.id === after) + 1;
    const from = Math.max(0, next - (next > 0 ? (cut?.overlap ?? 0) : 0));
    const text = `retry: 1\n\n${entries.slice(from).map(wire).join(": ping\n\n")}: end completed\n\n`;
    const whole = new TextEncoder().encode(text);
    const bytes = cut === undefined ? whole : whole.subarray(0, cut.bytes);
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = bytes.subarray(at, at + (cut?.chunk ?? 1_000));
        at += chunk.length;
        if (chunk.length > 0) controller.enqueue(chunk);
        else if (cut?.broken) controller.error(new TypeError("network error"));
        else controller.close();
      },
    });
    return new Response(body, { headers: { "content-type": "text/event-stream", "x-run-id": "run-1" } });
  };
}
