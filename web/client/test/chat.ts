import {
  type ChatKitFetch,
  type ChatKitFetchOptions,
  createChatKitFetch,
  readEvents,
  type Telemetry,
} from "../src/index.js";
import type { Backend, Entry } from "./backend.js";

/** Limits with waits of a few ms, so that a test of many tries is fast. */
export const QUICK = { maxWaitMs: 5, answerMs: 2_000 };

/** A client of the backend, and the calls of its hooks. */
export interface Chat {
  readonly fetch: ChatKitFetch;
  readonly told: Telemetry[];
  post(type: string, params?: Record<string, unknown>, init?: RequestInit): Promise<Response>;
}

export function chat(backend: Backend, options: Partial<ChatKitFetchOptions> = {}): Chat {
  const told: Telemetry[] = [];
  const fetch = createChatKitFetch({
    url: `${backend.url}/chatkit`,
    limits: QUICK,
    onTelemetry: (happened) => told.push(happened),
    ...options,
  });
  const post = (type: string, params: Record<string, unknown> = {}, init: RequestInit = {}) =>
    fetch(`${backend.url}/chatkit`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type, params }),
      ...init,
    });
  return { fetch, told, post };
}

/** All events of a response, in the shape of the journal. `found` has the events that have arrived so far. */
export async function entriesOf(response: Response, found: Entry[] = []): Promise<Entry[]> {
  for await (const { event, cursor } of readEvents(response)) found.push({ id: cursor ?? "", event });
  return found;
}

/** The one `error` event of an answer that the client made itself. */
export async function errorOf(response: Response): Promise<Record<string, unknown>> {
  const entries = await entriesOf(response);
  const event = entries.at(-1)?.event;
  if (event?.type !== "error") throw new Error(`no error event at the end of ${JSON.stringify(entries)}`);
  return event;
}

/** Waits until the condition is true; the failure names the condition. */
export async function until(what: string, isTrue: () => boolean): Promise<void> {
  for (const startedAt = Date.now(); !isTrue(); await new Promise((resolve) => setTimeout(resolve, 5))) {
    if (Date.now() - startedAt > 5_000) throw new Error(`it never came true that ${what}`);
  }
}

/** An unsigned JWT that expires this many seconds from now. */
export function jwt(seconds: number, name = "ada"): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${encode({ alg: "none" })}.${encode({ sub: name, exp: Date.now() / 1000 + seconds })}.x`;
}
