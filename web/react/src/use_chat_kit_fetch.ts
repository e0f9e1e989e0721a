import { type ChatKitFetch, type ChatKitFetchOptions, createChatKitFetch, pageContext } from "@relaykit/client";
import { useEffect, useMemo } from "react";
import { useLatest } from "./use_latest.js";

export interface UseChatKitFetchOptions extends ChatKitFetchOptions {
  /** Who is signed in: a fetch is made anew for another one, so that nobody gets another's token. Null: nobody. */
  readonly user: string | null;
  /** Leave the page's context out of the metadata. */
  readonly withoutPageContext?: boolean;
}

/**
 * A fetch for ChatKit that stays the same as long as the user and the addresses do. Of its callbacks and headers the latest
 * are used; `limits`, `messages`, `trustedOrigins` and `fetch` are those that it was made with. What is under way for a user
 * ends when another one is signed in, or when the component goes; no run is stopped by that.
 */
export function useChatKitFetch(options: UseChatKitFetchOptions): ChatKitFetch {
  const latest = useLatest(options);
  const { url, baseUrl, credentials, user } = options;
  const withToken = options.getToken !== undefined;
  const withReload = options.onReload !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another user is another fetch, and the rest is read when it is used
  const fetch = useMemo(() => {
    const now = () => latest.current;
    return createChatKitFetch({
      ...options,
      ...(withToken
        ? {
            // A request of one user never goes out with the token of the next.
            getToken: (asked) => (now().user === user ? (now().getToken?.(asked) ?? null) : null),
          }
        : {}),
      ...(withReload ? { onReload: (gap) => now().onReload?.(gap) } : {}),
      headers: async () => {
        const { headers } = now();
        return (typeof headers === "function" ? await headers() : headers) ?? {};
      },
      metadata: async () => ({
        ...(now().withoutPageContext ? {} : { pageContext: pageContext() }),
        ...(await now().metadata?.()),
      }),
      onSignInRequired: () => now().onSignInRequired?.(),
      onTelemetry: (happened) => now().onTelemetry?.(happened),
      isStop: (reason) => now().isStop?.(reason) ?? true,
    });
  }, [url, baseUrl, credentials, user, withToken, withReload]);
  useEffect(() => () => fetch.end(), [fetch]);
  return fetch;
}
