import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Locale } from "../texts/locale.js";
import { type SharedContext, sharedContext, type ViewContext } from "../ui/view_context.js";
import type { Opening } from "./open_thread.js";
import type { Run } from "./run.js";
import type { ThreadState } from "./state.js";

/** The parts of the conversation that the view draws. */
interface DrawnConversation {
  readonly state: ThreadState;
  readonly runs: ReadonlySet<Run>;
  readonly awaited: Progressing | null;
  readonly opening: Opening | null;
}

/** A run, or the client tool call that is awaited after it. */
export type Progressing = Pick<Run, "isStopping"> & Partial<Pick<Run, "progress">>;

/** The parts and the current options that the view draws. */
export interface ThreadViewHost {
  readonly conversation: DrawnConversation;
  readonly context: SharedContext;
  /** A key of the options that the drawing depends on. Another key has all items drawn again. */
  readonly look: () => string;
  readonly isAway: () => "reconnecting" | "offline" | "signingIn" | null;
  /** Whether the browser reports no network. */
  readonly isOffline: () => boolean;
  /** Loads earlier items. It reports failures itself. */
  readonly loadEarlier: () => Promise<void>;
  readonly startScreen: HTMLElement;
  /** The person quotes a part of the conversation. */
  readonly quote: (text: string) => void;
  /** Aborts when the element leaves the chat. */
  readonly signal: AbortSignal;
}

/** What the drawing of the thread depends on besides the thread. */
export function lookOf(
  locale: () => Locale,
  options: () => ChatKitOptions,
  listeners: Pick<ViewContext, "actions" | "announcer" | "emit">,
): Pick<ThreadViewHost, "context" | "look"> {
  return {
    context: sharedContext(locale, options, listeners),
    look: () => JSON.stringify([locale().language, locale().tag, options().threadItemActions ?? null]),
  };
}

/** Whether the server can be reached, as far as the page knows. */
export function reachOf(api: Api): Pick<ThreadViewHost, "isAway" | "isOffline"> {
  return {
    isAway: () => {
      const { state } = api.fetch.connection;
      if (state === "signing_in") return "signingIn";
      return state === "reconnecting" || state === "offline" ? state : null;
    },
    isOffline: () => !navigator.onLine,
  };
}
