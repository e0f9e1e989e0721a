import type { ChatKitOptions } from "@openai/chatkit";
import type { Api } from "../server/api.js";
import type { Locale } from "../texts/locale.js";
import { sharedContext, type ViewContext } from "../ui/view_context.js";
import type { ThreadViewHost } from "./view.js";

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
