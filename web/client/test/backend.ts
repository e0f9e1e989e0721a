import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A request that the backend received. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface Entry {
  readonly id: string;
  readonly event: { readonly type: string; readonly [field: string]: unknown };
}

type Answer = (response: ServerResponse, asked: Asked) => void;

/**
 * A scripted server that speaks the protocol of docs/protocol.md over a real socket. `entries` is the journal of its
 * one run. Each of `faults` answers one request, before all others are served.
 */
export class Backend {
  readonly asked: Asked[] = [];
  readonly faults: Answer[] = [];
  entries: Entry[] = [];
  end: string | null = "completed";
  runId = "run-1";
  /** The accepted token; null accepts every one. */
  token: string | null = null;
  cancelled = false;
  /** The client tool call that ended the run and whose output the thread awaits. */
  awaits: { readonly item_id: string; readonly seconds_left: number } | null = null;
  #url = "";
  #open = new Set<ServerResponse>();
  readonly #server = createServer((request, response) => void this.#take(request, response));

  static async start(): Promise<Backend> {
    const backend = new Backend();
    await new Promise<void>((resolve) => backend.#server.listen(0, "127.0.0.1", resolve));
    backend.#url = `http://127.0.0.1:${(backend.#server.address() as AddressInfo).port}`;
    return backend;
  }

  get url(): string {
    return this.#url;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  paths(method: string): string[] {
    return this.asked.filter((each) => each.method === method).map((each) => each.path);
  }

  /** Sends entries to all streams of the run, and appends them to its journal. */
  append(...entries: Entry[]): void {
    this.entries.push(...entries);
    for (const response of this.#open) response.write(entries.map(wire).join(""));
  }

  finish(status: string): void {
    this.end = status;
    for (const response of this.#open) response.end(`: end ${status}\n\n`);
    this.#open.clear();
  }

  /** Resets every stream. */
  cut(): void {
    for (const response of this.#open) response.destroy();
    this.#open.clear();
  }

  /** Writes the run's stream after the cursor. */
  stream(response: ServerResponse, after: string | undefined): void {
    const from = after === undefined ? 0 : this.entries.findIndex((entry) => entry.id === after) + 1;
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "x-run-id": this.runId });
    response.write(`retry: 1\n\n${this.entries.slice(from).map(wire).join("")}`);
    if (this.end !== null) response.end(`: end ${this.end}\n\n`);
    else {
      this.#open.add(response);
      response.on("close", () => this.#open.delete(response));
    }
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const asked = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    this.asked.push(asked);
    const fault = this.faults.shift();
    if (fault !== undefined) fault(response, asked);
    else this.#answer(response, asked);
  }

  #answer(response: ServerResponse, { method, path, headers, body }: Asked): void {
    if (this.token !== null && headers.authorization !== `Bearer ${this.token}`) {
      json(response, 401, { error: { code: "unauthenticated", message: "No." } });
    } else if (path === "/chatkit" && body.includes('"threads.list"')) json(response, 200, { data: [] });
    else if (path === "/chatkit") this.stream(response, undefined);
    else if (path === `/runs/${this.runId}/events`)
      this.stream(response, headers["last-event-id"] as string | undefined);
    else if (path === `/runs/${this.runId}/cancel`) {
      this.cancelled = true;
      json(response, 202, { id: this.runId, status: "cancelled" });
    } else if (path === `/runs/${this.runId}`) json(response, 200, { id: this.runId, status: this.end ?? "running" });
    else if (path === "/threads/thread-1/run") {
      if (this.end === null) json(response, 200, { id: this.runId, status: "running" });
      else if (this.awaits !== null) json(response, 200, { id: this.runId, status: this.end, awaits: this.awaits });
      else response.writeHead(204).end();
    } else json(response, 404, { error: { code: "not_found", message: `${method} ${path}` } });
  }
}

export function wire({ id, event }: Entry): string {
  return `id: ${id}\ndata: ${JSON.stringify(event)}\n\n`;
}

export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

/** A fault that answers with this status, as the API does. */
export const refusing =
  (status: number, code: string, more: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void =>
    json(response, status, { error: { code, message: `said ${code}`, ...more } }, headers);

/** A fault that resets the connection without an answer. */
export const resetting = (response: ServerResponse): void => void response.socket?.resetAndDestroy();

/** The journal of a run whose answer has this many deltas. */
export function answer(deltas: number): Entry[] {
  const text = (index: number) => ({
    type: "thread.item.updated",
    item_id: "msg-1",
    update: { type: "assistant_message.content_part.text_delta", content_index: 0, delta: `wörd ${index} 🐦 ` },
  });
  return [
    { id: "0-1", event: { type: "thread.created", thread: { id: "thread-1" } } },
    { id: "1-2", event: { type: "thread.item.added", item: { id: "msg-1" } } },
    ...Array.from({ length: deltas }, (_, index) => ({ id: `1-${index + 3}`, event: text(index) })),
    { id: `1-${deltas + 3}`, event: { type: "thread.item.done", item: { id: "msg-1" } } },
  ];
}
