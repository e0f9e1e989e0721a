import type { Cause } from "./failures.js";
import type { RunStatus } from "./run_status.js";

/** An event in the life of a request or a run, for the site's measurements. It never carries text of a conversation. */
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

export type OnTelemetry = (event: Telemetry) => void;
