import { type ChatKitFetch, type ChatKitFetchOptions, createChatKitFetch, pageContext } from "@relaykit/client";
import { useEffect, useMemo } from "react";
import { useLatest } from "./use_latest.js";

export interface UseChatKitFetchOptions extends ChatKitFetchOptions {
  /** The signed-in user, or null. Each user gets a fetch of their own, so that no request has another user's token. */
  readonly user: string | null;
  /** Leaves the page's context out of the metadata. */
  readonly withoutPageContext?: boolean;
}

/**
 * A fetch for ChatKit that stays the same as long as the user and the addresses do. It uses the latest callbacks and
 * headers, and the `limits`, `messages`, `trustedOrigins` and `fetch` of its creation. The requests of a user end when
 * another user signs in, or when the component is removed; their runs go on.
 */
export function useChatKitFetch(options: UseChatKitFetchOptions): ChatKitFetch {
  const latest = useLatest(options);
  const { url, baseUrl, credentials, user } = options;
  const withToken = options.getToken !== undefined;
  const withReload = options.onReload !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new user needs a new fetch; the rest is read at its use
  const fetch = useMemo(() => {
    const now = () => latest.current;
    return createChatKitFetch({
      ...options,
      ...(withToken
        ? {
            // A request of one user never goes out with the token of the next.
            getToken: (request) => (now().user === user ? (now().getToken?.(request) ?? null) : null),
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
      onTelemetry: (event) => now().onTelemetry?.(event),
      isStop: (reason) => now().isStop?.(reason) ?? true,
    });
  }, [url, baseUrl, credentials, user, withToken, withReload]);
  useEffect(() => () => fetch.end(), [fetch]);
  return fetch;
}
