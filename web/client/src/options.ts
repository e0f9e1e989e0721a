import type { ConnectionState } from "./connection.js";
import type { Limits } from "./limits.js";
import type { Messages } from "./messages.js";
import type { OnTelemetry } from "./telemetry.js";
import type { GetToken } from "./tokens.js";

export interface ChatKitFetchOptions {
  /** The ChatKit endpoint, the same as ChatKit's `api.url`. */
  readonly url: string;
  /** Where the API's other endpoints lie (`runs/…`, `threads/…`), if not beside `url`. */
  readonly baseUrl?: string;
  /** The bearer token; leave it out where a cookie signs in. */
  readonly getToken?: GetToken;
  /** For cookies: `include` where they go to another origin. Default `same-origin`. */
  readonly credentials?: RequestCredentials;
  /** Further headers for every request to the API. */
  readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** What the server learns with each request: who asks, from which page, whatever the site adds. JSON. */
  readonly metadata?: () => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Further origins that may see the token and the headers: that of direct uploads, say. */
  readonly trustedOrigins?: readonly string[];
  /** Nobody is signed in, or no longer. Called once each time that a request finds it out. */
  readonly onSignInRequired?: () => void;
  /** Events were lost for good: load the thread anew, `fetchUpdates()` of the stock widget. Without it an error is shown. */
  readonly onReload?: (gap: { readonly runId: string; readonly threadId: string | null }) => void;
  readonly onTelemetry?: OnTelemetry;
  /** Whether an abort is the user's Stop. Default: any before the answer's end, unless the page is being left. */
  readonly isStop?: (reason: unknown) => boolean;
  /** Other words for the client's own errors. */
  readonly messages?: Partial<Messages>;
  readonly limits?: Partial<Limits>;
  /** What sends the requests. Default: the global one, looked up at each. */
  readonly fetch?: typeof fetch;
}

/** A run that is being followed again. */
export interface ResumedRun {
  readonly runId: string;
  /** The answer of this same fetch to the message that began it is on its way already. */
  readonly isFollowed: boolean;
  /** Its events from the first one, as one unbroken stream; `readEvents` reads it. */
  readonly response: Response;
  /** The user's Stop. */
  stop(): Promise<void>;
}

/** A client tool call with which a run has ended, and whose output its thread awaits: what is sent meanwhile waits. */
export interface AwaitedOutput {
  /** The run that called; `stopRun` gives the call up. */
  readonly runId: string;
  readonly itemId: string;
  /** Until the server gives the call up. */
  readonly secondsLeft: number;
}

/** What goes on in a thread: a run, or the wait for a browser; neither where its turn is over. */
export interface ThreadActivity {
  readonly run: ResumedRun | null;
  readonly awaits: AwaitedOutput | null;
}

/** The function for ChatKit's `api.fetch`, and what else a page does with the same sign-in. */
export interface ChatKitFetch {
  (input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  readonly connection: { readonly state: ConnectionState; subscribe(listener: () => void): () => void };
  /**
   * Follows the thread's active run, after a reload for instance; null where none is active. Raises where the server
   * cannot be reached or refuses.
   *
   * @param options.signal ends the following; it does not stop the run
   */
  resumeThread(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<ResumedRun | null>;
  /** The same, and the client tool call whose output the thread awaits, where it awaits one. Raises as `resumeThread` does. */
  threadActivity(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<ThreadActivity>;
  /**
   * The user's Stop of whatever run the thread has active, or of the client tool call that it awaits; false where it has
   * neither. Raises as `resumeThread` does.
   */
  stopThread(threadId: string): Promise<boolean>;
  /**
   * The user's Stop of one run: its answer goes on until the run's own end. Of one that has ended with a client tool call
   * it gives up the call. Raises as `resumeThread` does.
   */
  stopRun(runId: string): Promise<void>;
  /**
   * Somebody else signs in, or the page is done with the chat: the token is dropped, and all that is under way ends
   * with an AbortError. No run is stopped. What comes later is served as ever.
   */
  end(): void;
}
