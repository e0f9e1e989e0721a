import type { Cause } from "./failures.js";
import type { RunStatus } from "./follow.js";

/** What happened to a request or a run, for the site's own measurements. It never carries a word of a conversation. */
export type Telemetry =
  | { readonly type: "answered"; readonly request: string; readonly tries: number; readonly ms: number }
  | { readonly type: "first_event"; readonly runId: string; readonly ms: number }
  | {
      readonly type: "reconnecting";
      readonly runId: string;
      readonly cursor: string | null;
      readonly cause: Cause;
      readonly waitMs: number;
    }
  | { readonly type: "reconnected"; readonly runId: string; readonly cursor: string | null; readonly ms: number }
  | { readonly type: "gap"; readonly runId: string; readonly cursor: string | null }
  | { readonly type: "ended"; readonly runId: string; readonly status: RunStatus | null; readonly reconnects: number }
  | { readonly type: "stopped"; readonly runId: string }
  | { readonly type: "failed"; readonly code: string; readonly runId: string | null };

export type OnTelemetry = (happened: Telemetry) => void;

/** Calls a hook of the site; what it throws is the page's error and not the conversation's. */
export function tell<Args extends unknown[]>(hook: ((...args: Args) => unknown) | undefined, ...args: Args): void {
  if (hook === undefined) return;
  try {
    const result = hook(...args);
    if (result instanceof Promise) result.catch(report);
  } catch (error) {
    report(error);
  }
}

/** As an uncaught error of the page would be. */
export function report(error: unknown): void {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
