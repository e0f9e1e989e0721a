import { Backoff } from "./backoff.js";
import type { Connection } from "./connection.js";
import { isAfter } from "./cursor.js";
import { Passing, Refusal } from "./failures.js";
import { EVENT_STREAM, type Http, JSON_TYPE } from "./http.js";
import type { Limits } from "./limits.js";
import type { Live } from "./live.js";
import { asRecord } from "./protocol.js";
import { type SseEvent, SseSplitter } from "./sse.js";
import type { Surroundings } from "./surroundings.js";
import type { Telemetry } from "./telemetry.js";
import type { Urls } from "./urls.js";

export type RunStatus = "completed" | "failed" | "cancelled";

/**
 * How the following of a run ended. `ended`: the run is over; its status is null where only that is known. `gone`: it
 * is over, and the server cannot give what came after the cursor. `refused`: the server gives nothing more of it.
 * `lost`: the server could not be reached; the run may go on.
 */
export type Ending =
  | { readonly kind: "ended"; readonly status: RunStatus | null }
  | { readonly kind: "gone"; readonly threadId: string | null }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "lost"; readonly code: string | null };

/** What the following of a run needs of its client. */
export interface Means {
  readonly http: Http;
  readonly live: Live;
  /** Raises TypeError where they cannot be made out. */
  readonly urls: () => Urls;
  readonly connection: Connection;
  readonly surroundings: Surroundings;
  readonly limits: Limits;
  readonly tell: (happened: Telemetry) => void;
}

/** The comment with which a run ends. */
export const END = /^end (completed|failed|cancelled)$/;
const OVER = new Set(["completed", "failed", "cancelled"]);
const POLL_MS = 2_000;

/** Follows one run to its end, over as many connections as that takes. */
export class Follower {
  #cursor: string | null = null;
  #reconnects = 0;
  #isBegun = false;
  #wasSilent = false;
  readonly #backoff: Backoff;

  /**
   * @param runId which run
   * @param first an answer that is open already: that of the POST which began the run
   * @param signal ends the following and leaves the run alone
   * @param beganAtMs when its user began to wait
   * @param key of its line of the connection, where it has one already
   */
  constructor(
    private readonly means: Means,
    readonly runId: string,
    private readonly first: Response | null,
    private readonly signal: AbortSignal,
    private readonly beganAtMs: number = Date.now(),
    private readonly key: symbol = Symbol("run"),
  ) {
    this.#backoff = new Backoff(means.limits.followTries, means.limits.maxWaitMs);
  }

  get url(): string {
    return `${this.means.urls().runs}/${encodeURIComponent(this.runId)}`;
  }

  /**
   * The run's events, each once, in order and whole, and the server's comments between them, as they come; those that
   * came together are given together. Raises the signal's reason. To be called once.
   */
  async *events(): AsyncGenerator<SseEvent[], Ending> {
    try {
      const ending = yield* this.#connections();
      if (ending.kind === "ended") {
        this.means.tell({
          type: "ended",
          runId: this.runId,
          status: ending.status,
          reconnects: this.#reconnects,
        });
      }
      return ending;
    } finally {
      this.close();
    }
  }

  /** Nobody reads its events any more. */
  close(): void {
    this.means.connection.set(this.key, null);
    // Nobody has begun to read it either; one that is broken is gone by itself.
    if (this.first?.body?.locked === false) this.first.body.cancel().catch(() => {});
  }

  async *#connections(): AsyncGenerator<SseEvent[], Ending> {
    let response = this.first;
    let lostAtMs: number | null = null;
    for (;;) {
      let failure: Passing;
      const connection = new AbortController();
      const leave = () => connection.abort(this.signal.reason);
      this.signal.addEventListener("abort", leave, { signal: connection.signal });
      this.means.surroundings.whenOnline(() => connection.abort(), connection.signal);
      try {
        this.signal.throwIfAborted();
        if (response === null) this.means.connection.set(this.key, lostAtMs === null ? "connecting" : "reconnecting");
        response ??= await this.#open(connection.signal);
        if (response.status === 204) return { kind: "ended", status: null };
        this.means.connection.set(this.key, "open");
        if (lostAtMs !== null) {
          this.#reconnects += 1;
          this.#say({ type: "reconnected", cursor: this.#cursor, ms: Date.now() - lostAtMs });
        }
        lostAtMs = null;
        const ending = yield* this.#read(response, connection.signal);
        if (ending !== null) return ending;
        failure = new Passing(this.#wasSilent ? "silence" : "closed", true);
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof Refusal && error.status === 410) {
          this.#say({ type: "gap", cursor: this.#cursor });
          await this.#untilOver();
          return { kind: "gone", threadId: error.threadId };
        }
        if (error instanceof Refusal && !isOfTheWay(error)) return { kind: "refused", refusal: error };
        failure = asPassing(error);
      } finally {
        connection.abort();
      }
      response = null;
      lostAtMs ??= Date.now();
      if (!(await this.#wait(failure))) return { kind: "lost", code: failure.code };
    }
  }

  /** The end that came, or null where the connection ended without it. */
  async *#read(response: Response, signal: AbortSignal): AsyncGenerator<SseEvent[], Ending | null> {
    if (response.body === null) return null;
    const reader = response.body.getReader();
    // Ends a read that waits; whether the connection is whole enough to be told so is of no interest.
    const leave = () => void reader.cancel().catch(() => {});
    signal.addEventListener("abort", leave);
    const splitter = new SseSplitter();
    try {
      for (;;) {
        const { done, value } = await this.#withinSilence(reader.read(), leave);
        this.signal.throwIfAborted();
        if (done) return null;
        const { given, ending } = this.#taken(splitter.push(value));
        if (given.length > 0) yield given;
        if (ending !== null) return ending;
      }
    } finally {
      signal.removeEventListener("abort", leave);
      leave();
    }
  }

  #taken(events: SseEvent[]): { given: SseEvent[]; ending: Ending | null } {
    const given: SseEvent[] = [];
    for (const event of events) {
      if (event.kind === "retry") {
        this.#backoff.baseMs = Math.min(event.ms, this.means.limits.maxWaitMs);
        continue;
      }
      if (event.kind === "comment") {
        const status = END.exec(event.text)?.[1] as RunStatus | undefined;
        if (status !== undefined) return { given, ending: { kind: "ended", status } };
      } else if (event.id !== null) {
        if (!isAfter(event.id, this.#cursor)) continue;
        this.#cursor = event.id;
      }
      this.#backoff.reset();
      given.push(event);
    }
    if (!this.#isBegun && given.length > 0) {
      this.#isBegun = true;
      this.#say({ type: "first_event", ms: Date.now() - this.beganAtMs });
    }
    return { given, ending: null };
  }

  /** Heartbeats come all the time: a connection that is silent for long is dead, whatever the browser believes. */
  async #withinSilence<T>(read: Promise<T>, leave: () => void): Promise<T> {
    this.#wasSilent = false;
    const timer = setTimeout(() => {
      this.#wasSilent = true;
      leave();
    }, this.means.limits.silenceMs);
    try {
      return await read;
    } finally {
      clearTimeout(timer);
    }
  }

  #open(signal: AbortSignal): Promise<Response> {
    const headers = new Headers({ "relaykit-resume": "1" });
    if (this.#cursor !== null) headers.set("last-event-id", this.#cursor);
    const timeoutMs = this.means.limits.answerMs;
    return this.means.http.send({
      url: `${this.url}/events`,
      method: "GET",
      headers,
      expects: EVENT_STREAM,
      signal,
      timeoutMs,
    });
  }

  /** False when it is time to give up. Without a network no try counts. */
  async #wait(failure: Passing): Promise<boolean> {
    const wait = this.#backoff.next(failure.retryAfterMs, !this.means.surroundings.isOffline);
    if (wait === null) return false;
    this.means.connection.set(this.key, "reconnecting");
    this.#say({ type: "reconnecting", cursor: this.#cursor, cause: failure.why, waitMs: wait.ms });
    await this.means.surroundings.pause(wait, this.signal);
    return true;
  }

  /** The events are gone but the run may not be over: until it is, the thread does not hold its answer. */
  async #untilOver(): Promise<void> {
    const { http, limits, surroundings } = this.means;
    for (;;) {
      try {
        const { signal } = this;
        const request = {
          url: this.url,
          method: "GET",
          expects: JSON_TYPE,
          signal,
          timeoutMs: limits.answerMs,
        } as const;
        const run = asRecord(await (await http.send(request)).json());
        if (OVER.has(String(run.status))) return;
        this.#backoff.reset();
        await surroundings.pause({ ms: POLL_MS, atLeastMs: 0 }, this.signal);
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof Refusal && !isOfTheWay(error)) return;
        if (!(await this.#wait(asPassing(error)))) return;
      }
    }
  }

  #say(happened: DistributiveOmit<Telemetry, "runId">): void {
    this.means.tell({ ...happened, runId: this.runId } as Telemetry);
  }
}

/** A refusal that says nothing of the run: a defect, or a 404 of somebody who stands in the server's place. */
function isOfTheWay({ status, code }: Refusal): boolean {
  return status >= 500 || (status === 404 && code === "http");
}

function asPassing(error: unknown): Passing {
  if (error instanceof Passing) return error;
  if (error instanceof Refusal) return new Passing("status", false, 0, error.code);
  return new Passing("network", true, 0, null, error);
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
