/**
 * An incremental parser of server-sent events. Pure: bytes in, callbacks out, any chunking.
 *
 * Comments are reported, because the end of a run is one (`: end completed`).
 */
export class SseParser {
  #decoder = new TextDecoder();
  #rest = "";
  #id = null;
  #data = [];

  /** @param {{onEvent: (event: {id: string|null, data: string}) => void, onComment?: (text: string) => void, onRetry?: (ms: number) => void}} handlers */
  constructor({ onEvent, onComment = () => {}, onRetry = () => {} }) {
    this.onEvent = onEvent;
    this.onComment = onComment;
    this.onRetry = onRetry;
  }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    const ending = /\r\n|\n|\r/g;
    let start = 0;
    for (let match = ending.exec(text); match; match = ending.exec(text)) {
      // A \r at the very end may be the first half of \r\n.
      if (match[0] === "\r" && ending.lastIndex === text.length) break;
      this.#line(text.slice(start, match.index));
      start = ending.lastIndex;
    }
    this.#rest = text.slice(start);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return this.onComment(line.slice(1).trim());
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.onRetry(Number(value));
  }

  #dispatch() {
    if (this.#data.length === 0) return;
    const data = this.#data.join("\n");
    this.#data = [];
    this.onEvent({ id: this.#id, data });
  }
}

/**
 * Orders two cursors `<attempt>-<seq>` as pairs of numbers.
 * @returns {number} below 0, 0 or above 0
 */
export function compareCursors(left, right) {
  const [leftAttempt, leftSeq] = left.split("-").map(Number);
  const [rightAttempt, rightSeq] = right.split("-").map(Number);
  return leftAttempt - rightAttempt || leftSeq - rightSeq;
}
