/** One complete part of a stream of server-sent events. */
export type SseEvent =
  | { readonly kind: "event"; readonly id: string | null; readonly data: string }
  | { readonly kind: "comment"; readonly text: string }
  | { readonly kind: "retry"; readonly ms: number };

/**
 * Splits a byte stream into server-sent events, wherever its chunks end.
 *
 * An event is returned once its blank line has arrived, so that a cut never leaves half an event behind. A comment is
 * returned once its line is complete, because the end of a run is one. `id` is the event's own: it does not carry over
 * to the next event as the standard's "last event ID" does. Source:
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
export class SseSplitter {
  readonly #decoder = new TextDecoder();
  /** The parts of the line that has not ended yet. */
  #pieces: string[] = [];
  /** The last line ended with \r; a \n right after it belongs to the same line end. */
  #endedWithCr = false;
  #id: string | null = null;
  #data: string[] = [];

  push(bytes: Uint8Array): SseEvent[] {
    const found: SseEvent[] = [];
    const text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return found;
    let start = this.#endedWithCr && text.startsWith("\n") ? 1 : 0;
    this.#endedWithCr = text.endsWith("\r");
    const lineEnd = /\r\n|\n|\r/g;
    lineEnd.lastIndex = start;
    for (let match = lineEnd.exec(text); match !== null; match = lineEnd.exec(text)) {
      this.#pieces.push(text.slice(start, match.index));
      this.#line(this.#pieces.join(""), found);
      this.#pieces = [];
      start = lineEnd.lastIndex;
    }
    if (start < text.length) this.#pieces.push(text.slice(start));
    return found;
  }

  #line(line: string, found: SseEvent[]): void {
    if (line === "") {
      if (this.#data.length > 0) found.push({ kind: "event", id: this.#id, data: this.#data.join("\n") });
      this.#id = null;
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "") found.push({ kind: "comment", text: value });
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) found.push({ kind: "retry", ms: Number(value) });
  }
}

/** The text of the event in a stream. */
export function encodeEvent(event: SseEvent): string {
  switch (event.kind) {
    case "comment":
      return `: ${event.text}\n\n`;
    case "retry":
      return `retry: ${event.ms}\n\n`;
    case "event": {
      const data = event.data
        .split("\n")
        .map((line) => `data: ${line}`)
        .join("\n");
      return event.id === null ? `${data}\n\n` : `id: ${event.id}\n${data}\n\n`;
    }
  }
}
