import { Backoff } from "./backoff.js";
import type { ClientContext } from "./client_context.js";
import { isAfter } from "./cursor.js";
import { Refusal, TransientError } from "./failures.js";
import { EVENT_STREAM, JSON_TYPE } from "./http.js";
import { asRecord } from "./protocol.js";
import { endOf, isEnded, type RunStatus } from "./run_status.js";
import { type SseEvent, SseSplitter } from "./sse.js";
import type { Telemetry } from "./telemetry.js";

/**
 * How the following of a run ended. `ended`: the run is over; its status is null where the server did not tell it.
 * `gone`: the run is over, and the server has no longer the events after the cursor. `refused`: the server gives no
 * more events of the run. `lost`: the server could not be reached, and the run may go on.
 */
export type Ending =
  | { readonly kind: "ended"; readonly status: RunStatus | null }
  | { readonly kind: "gone"; readonly threadId: string | null }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "lost"; readonly code: string | null };

const POLL_MS = 2_000;

/** Follows one run to its end, over as many connections as needed. */
export class Follower {
  #cursor: string | null = null;
  #reconnects = 0;
  #isBegun = false;
  #wasSilent = false;
  readonly #backoff: Backoff;

  /**
   * @param first an answer that is open already: that of the POST that began the run
   * @param signal ends the following and does not stop the run
   * @param beganAtMs when the user began to wait
   * @param key the run's line in the connection, where it has one already
   */
  constructor(
    private readonly context: ClientContext,
    readonly runId: string,
    private readonly first: Response | null,
    private readonly signal: AbortSignal,
    private readonly beganAtMs: number = Date.now(),
    private readonly key: symbol = Symbol("run"),
  ) {
    this.#backoff = new Backoff(context.limits.followTries, context.limits.maxWaitMs);
  }

  get url(): string {
    return this.context.urls().beside(`runs/${encodeURIComponent(this.runId)}`);
  }

  /**
   * Yields the run's events, each once, in order and whole, and the server's comments between them. Events that arrived
   * together are yielded together. Raises the signal's reason. The caller calls it once.
   */
  async *events(): AsyncGenerator<SseEvent[], Ending> {
    try {
      const ending = yield* this.#connections();
      if (ending.kind === "ended") {
        this.context.onTelemetry({
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

  /** Ends the following after its caller has left. */
  close(): void {
    this.context.connection.set(this.key, null);
    // The answer is cancelled where no reader has begun with it. A broken one needs no cancelling: its failure is
    // ignored.
    if (this.first?.body?.locked === false) this.first.body.cancel().catch(() => {});
  }

  async *#connections(): AsyncGenerator<SseEvent[], Ending> {
    let response = this.first;
    let lostAtMs: number | null = null;
    for (;;) {
      let failure: TransientError;
      const connection = new AbortController();
      const leave = () => connection.abort(this.signal.reason);
      this.signal.addEventListener("abort", leave, { signal: connection.signal });
      this.context.environment.whenOnline(() => connection.abort(), connection.signal);
      try {
        this.signal.throwIfAborted();
        if (response === null) this.context.connection.set(this.key, lostAtMs === null ? "connecting" : "reconnecting");
        response ??= await this.#open(connection.signal);
        if (response.status === 204) return { kind: "ended", status: null };
        this.context.connection.set(this.key, "open");
        if (lostAtMs !== null) {
          this.#reconnects += 1;
          this.#report({ type: "reconnected", cursor: this.#cursor, ms: Date.now() - lostAtMs });
        }
        lostAtMs = null;
        const ending = yield* this.#read(response, connection.signal);
        if (ending !== null) return ending;
        failure = new TransientError(this.#wasSilent ? "silence" : "closed", true);
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof Refusal && error.status === 410) {
          this.#report({ type: "gap", cursor: this.#cursor });
          await this.#waitUntilOver();
          return { kind: "gone", threadId: error.threadId };
        }
        if (error instanceof Refusal && !isUnrelatedToRun(error)) return { kind: "refused", refusal: error };
        failure = asTransient(error);
      } finally {
        connection.abort();
      }
      response = null;
      lostAtMs ??= Date.now();
      if (!(await this.#wait(failure))) return { kind: "lost", code: failure.code };
    }
  }

  /** Reads one connection. Returns the run's end, or null where the connection ended before it. */
  async *#read(response: Response, signal: AbortSignal): AsyncGenerator<SseEvent[], Ending | null> {
    if (response.body === null) return null;
    const reader = response.body.getReader();
    // Cancelling ends a read that waits. It fails on a broken connection, which needs no cancelling.
    const leave = () => void reader.cancel().catch(() => {});
    signal.addEventListener("abort", leave);
    const splitter = new SseSplitter();
    try {
      for (;;) {
        const { done, value } = await this.#withinSilence(reader.read(), leave);
        this.signal.throwIfAborted();
        if (done) return null;
        const { accepted, ending } = this.#accept(splitter.push(value));
        if (accepted.length > 0) yield accepted;
        if (ending !== null) return ending;
      }
    } finally {
      signal.removeEventListener("abort", leave);
      leave();
    }
  }

  /**
   * Moves the cursor over the events; returns those that are new to the caller, and the run's end where it is there.
   */
  #accept(events: SseEvent[]): { accepted: SseEvent[]; ending: Ending | null } {
    const accepted: SseEvent[] = [];
    for (const event of events) {
      if (event.kind === "retry") {
        this.#backoff.baseMs = Math.min(event.ms, this.context.limits.maxWaitMs);
        continue;
      }
      if (event.kind === "comment") {
        const status = endOf(event.text);
        if (status !== undefined) return { accepted, ending: { kind: "ended", status } };
      } else if (event.id !== null) {
        if (!isAfter(event.id, this.#cursor)) continue;
        this.#cursor = event.id;
      }
      this.#backoff.reset();
      accepted.push(event);
    }
    if (!this.#isBegun && accepted.length > 0) {
      this.#isBegun = true;
      this.#report({ type: "first_event", ms: Date.now() - this.beganAtMs });
    }
    return { accepted, ending: null };
  }

  /**
   * The read, which ends after a silence. The server pings, so a silent connection is dead though the browser holds it
   * open.
   */
  async #withinSilence<T>(read: Promise<T>, leave: () => void): Promise<T> {
    this.#wasSilent = false;
    const timer = setTimeout(() => {
      this.#wasSilent = true;
      leave();
    }, this.context.limits.silenceMs);
    try {
      return await read;
    } finally {
      clearTimeout(timer);
    }
  }

  #open(signal: AbortSignal): Promise<Response> {
    const headers = new Headers({ "relaykit-resume": "1" });
    if (this.#cursor !== null) headers.set("last-event-id", this.#cursor);
    const timeoutMs = this.context.limits.answerMs;
    return this.context.http.send({
      url: `${this.url}/events`,
      method: "GET",
      headers,
      expects: EVENT_STREAM,
      signal,
      timeoutMs,
    });
  }

  /** Waits before the next try; false when no try is left. Without a network no try counts. */
  async #wait(failure: TransientError): Promise<boolean> {
    const wait = this.#backoff.next(failure.retryAfterMs, !this.context.environment.isOffline);
    if (wait === null) return false;
    this.context.connection.set(this.key, "reconnecting");
    this.#report({ type: "reconnecting", cursor: this.#cursor, cause: failure.why, waitMs: wait.ms });
    await this.context.environment.pause(wait, this.signal);
    return true;
  }

  /** Waits for the end of a run whose events are gone, because the thread has its answer only then. */
  async #waitUntilOver(): Promise<void> {
    const { http, limits, environment } = this.context;
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
        if (isEnded(run.status)) return;
        this.#backoff.reset();
        await environment.pause({ ms: POLL_MS, atLeastMs: 0 }, this.signal);
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof Refusal && !isUnrelatedToRun(error)) return;
        if (!(await this.#wait(asTransient(error)))) return;
      }
    }
  }

  #report(event: DistributiveOmit<Telemetry, "runId">): void {
    this.context.onTelemetry({ ...event, runId: this.runId } as Telemetry);
  }
}

/**
 * Whether a refusal says nothing about the run: it tells a defect, or a 404 comes from a proxy and not from the API.
 */
function isUnrelatedToRun({ status, code }: Refusal): boolean {
  return status >= 500 || (status === 404 && code === "http");
}

function asTransient(error: unknown): TransientError {
  if (error instanceof TransientError) return error;
  if (error instanceof Refusal) return new TransientError("status", false, 0, error.code);
  return new TransientError("network", true, 0, null, error);
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
