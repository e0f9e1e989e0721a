import type { ConnectionState } from "./connection.js";
import type { Limits } from "./limits.js";
import type { Messages } from "./messages.js";
import type { OnTelemetry } from "./telemetry.js";
import type { GetToken } from "./tokens.js";

export interface ChatKitFetchOptions {
  /** The ChatKit endpoint, the same as ChatKit's `api.url`. */
  readonly url: string;
  /** The base of the API's other endpoints (`runs/…`, `threads/…`), where it is not the folder of `url`. */
  readonly baseUrl?: string;
  /** Returns the bearer token. A site that signs in with a cookie leaves it out. */
  readonly getToken?: GetToken;
  /** `include` sends cookies to another origin too. Default `same-origin`. */
  readonly credentials?: RequestCredentials;
  /** Further header fields for every request to the API. */
  readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** JSON that goes with each request: the user, the page, or anything else that the site wants its server to know. */
  readonly metadata?: () => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Further origins that may see the token and the headers, such as that of direct uploads. */
  readonly trustedOrigins?: readonly string[];
  /** Called by each request that finds no user signed in. */
  readonly onSignInRequired?: () => void;
  /**
   * Called when events were lost for good: the site loads the thread anew, with `fetchUpdates()` of the stock widget.
   * Without this hook the answer shows an error.
   */
  readonly onReload?: (gap: { readonly runId: string; readonly threadId: string | null }) => void;
  readonly onTelemetry?: OnTelemetry;
  /** Whether an abort is the user's Stop. Default: each before the answer's end, unless the page is being left. */
  readonly isStop?: (reason: unknown) => boolean;
  /** Other texts for the client's own errors. */
  readonly messages?: Partial<Messages>;
  readonly limits?: Partial<Limits>;
  /** The fetch that sends the requests. Default: the global one, looked up at each request. */
  readonly fetch?: typeof fetch;
}

/** A run that the page follows again. */
export interface ResumedRun {
  readonly runId: string;
  /** Whether an answer of this same fetch shows the run already. */
  readonly isFollowed: boolean;
  /** The run's events from the first one, as one unbroken stream for `readEvents`. */
  readonly response: Response;
  /** Sends the user's Stop. */
  stop(): Promise<void>;
}

/** A client tool call that ended a run and whose output the thread awaits. Messages that are sent meanwhile wait. */
export interface AwaitedOutput {
  /** The run that made the call; `stopRun` gives the call up. */
  readonly runId: string;
  readonly itemId: string;
  /** The seconds until the server gives the call up. */
  readonly secondsLeft: number;
}

/** The activity of a thread: a run, or the wait for a browser's output, or neither where its turn is over. */
export interface ThreadActivity {
  readonly run: ResumedRun | null;
  readonly awaits: AwaitedOutput | null;
}

export interface CallOptions {
  readonly method?: "GET" | "POST";
  /** Has the request arrive also when the page is left. */
  readonly keepalive?: boolean;
  readonly signal?: AbortSignal;
}

/** The function for ChatKit's `api.fetch`, with the further operations of the same sign-in. */
export interface ChatKitFetch {
  (input: RequestInfo | URL, init?: RequestInit): Promise<Response>;
  readonly connection: { readonly state: ConnectionState; subscribe(listener: () => void): () => void };
  /**
   * Follows the thread's active run, for example after a reload; null where no run is active. Raises where the server
   * cannot be reached or refuses.
   *
   * @param options.signal ends the following; it does not stop the run
   */
  resumeThread(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<ResumedRun | null>;
  /**
   * Like `resumeThread`, and tells the client tool call whose output the thread awaits. Raises as `resumeThread` does.
   */
  threadActivity(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<ThreadActivity>;
  /** Whether the thread has an active run, without following it. Raises as `resumeThread` does. */
  isResponding(threadId: string, options?: { readonly signal?: AbortSignal }): Promise<boolean>;
  /**
   * Sends the user's Stop of the thread's active run, or of the client tool call that it awaits; false where the thread
   * has neither. Raises as `resumeThread` does.
   */
  stopThread(threadId: string): Promise<boolean>;
  /**
   * Sends the user's Stop of one run, whose answer goes on until the run's own end. For a run that has ended with a
   * client tool call it gives the call up. Raises as `resumeThread` does.
   */
  stopRun(runId: string): Promise<void>;
  /**
   * Asks an endpoint of the API beside ChatKit's, such as `threads/…/marks`, and repeats the request until it is
   * answered, so it must do no harm twice. Returns the answer's JSON; null where it has none. Raises as `resumeThread`
   * does.
   */
  call(path: string, options?: CallOptions): Promise<Record<string, unknown> | null>;
  /**
   * Drops the token and ends every request with an AbortError, because another user signs in or the page leaves the
   * chat. It stops no run. Later requests are served as before.
   */
  end(): void;
}
