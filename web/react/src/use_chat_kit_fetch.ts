import { type ChatKitFetch, type ChatKitFetchOptions, createChatKitFetch, pageContext } from "@relaykit/client";
import { useMemo } from "react";
import { useLatest } from "./use_latest.js";

export interface UseChatKitFetchOptions extends ChatKitFetchOptions {
  /** Who is signed in: a fetch is made anew for another one, so that nobody gets another's token. Null: nobody. */
  readonly user: string | null;
  /** Leave the page's context out of the metadata. */
  readonly withoutPageContext?: boolean;
}

/** A fetch for ChatKit that stays the same as long as the user and the URLs do; of the rest the latest is used. */
export function useChatKitFetch(options: UseChatKitFetchOptions): ChatKitFetch {
  const latest = useLatest(options);
  const { url, baseUrl, user } = options;
  const withToken = options.getToken !== undefined;
  const withReload = options.onReload !== undefined;
  // biome-ignore lint/correctness/useExhaustiveDependencies: another user is another fetch
  return useMemo(() => {
    const now = () => latest.current;
    return createChatKitFetch({
      ...now(),
      url,
      ...(withToken ? { getToken: (asked) => now().getToken?.(asked) ?? null } : {}),
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
  }, [url, baseUrl, user, withToken, withReload, latest]);
}
