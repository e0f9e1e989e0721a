import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeEvent, type SseEvent, SseSplitter } from "../src/sse.js";

const split = (...chunks: (string | Uint8Array)[]): SseEvent[] => {
  const splitter = new SseSplitter();
  return chunks.flatMap((chunk) => splitter.push(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk));
};

const line = fc.string({ unit: "binary" }).map((text) => text.replace(/[\r\n\0]/g, ""));
const event: fc.Arbitrary<SseEvent> = fc.oneof(
  fc.record({
    kind: fc.constant("event" as const),
    id: fc.option(line),
    data: fc.array(line, { minLength: 1, maxLength: 3 }).map((lines) => lines.join("\n")),
  }),
  fc.record({ kind: fc.constant("comment" as const), text: line }),
  fc.record({ kind: fc.constant("retry" as const), ms: fc.nat() }),
);

describe("SseSplitter", () => {
  it("gives what was encodeEvent, however the bytes are chunked and whatever ends the lines", () => {
    fc.assert(
      fc.property(
        fc.array(event),
        fc.constantFrom("\n", "\r\n", "\r"),
        fc.array(fc.nat({ max: 40 })),
        (events, end, cuts) => {
          const bytes = new TextEncoder().encode(`${events.map(encodeEvent).join("").replaceAll("\n", end)}`);
          const splitter = new SseSplitter();
          const found: SseEvent[] = [];
          let from = 0;
          for (const length of cuts) {
            found.push(...splitter.push(bytes.subarray(from, from + length)));
            from += length;
          }
          found.push(...splitter.push(bytes.subarray(from)));
          expect(found).toEqual(events);
        },
      ),
    );
  });

  it("never gives an event before its blank line", () => {
    expect(split("id: 1-1\ndata: {}\n")).toEqual([]);
    expect(split("id: 1-1\ndata: {}\n", "\n")).toEqual([{ kind: "event", id: "1-1", data: "{}" }]);
  });

  it("gives a comment with the end of its line", () => {
    expect(split(": end completed\n")).toEqual([{ kind: "comment", text: "end completed" }]);
  });

  it("carries no id from one event to the next", () => {
    expect(split("id: 1-1\n\ndata: a\n\n")).toEqual([{ kind: "event", id: null, data: "a" }]);
  });
});
