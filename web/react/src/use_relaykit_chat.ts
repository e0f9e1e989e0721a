import { type CustomApiConfig, type UseChatKitOptions, type UseChatKitReturn, useChatKit } from "@openai/chatkit-react";
import {
  type ChatKitFetch,
  type ChatKitReadyOptions,
  type ConnectionState,
  resumeInWidget,
  type ScriptState,
} from "@relaykit/client";
import { useCallback, useEffect, useRef, useState } from "react";
import { type UseChatKitFetchOptions, useChatKitFetch } from "./use_chat_kit_fetch.js";
import { useChatKitReady } from "./use_chat_kit_ready.js";
import { useConnection } from "./use_connection.js";
import { useLatest } from "./use_latest.js";

/** `useChatKit`'s options without `api`, which is made of the rest. */
export interface UseRelaykitChatOptions extends Omit<UseChatKitOptions, "api"> {
  readonly connect: UseChatKitFetchOptions;
  readonly domainKey: string;
  readonly uploadStrategy?: CustomApiConfig["uploadStrategy"];
  /**
   * How a thread that is opened goes on with the run that it has active: `updates` (default) shows each item once it is
   * finished, `live` the words as they come, which is unproven (see `resumeInWidget`), `off` not at all.
   */
  readonly resume?: "updates" | "live" | "off";
  readonly script?: ChatKitReadyOptions;
}

export interface UseRelaykitChatReturn extends UseChatKitReturn {
  readonly fetch: ChatKitFetch;
  /** Render `<ChatKit>` once it is `ready`. */
  readonly script: ScriptState;
  readonly connection: ConnectionState;
  /** Somebody has to sign in; false again with another user, and once the server has answered one. */
  readonly isSignInRequired: boolean;
  readonly threadId: string | null;
  /** Stops the run of the open thread, whoever began it; false where there is none. */
  stop(): Promise<boolean>;
}

/** ChatKit with sign-in, page context, resume, script detection and Stop: everything that a site has to wire. */
export function useRelaykitChat(options: UseRelaykitChatOptions): UseRelaykitChatReturn {
  const { connect, domainKey, uploadStrategy, resume = "updates", script: scriptOptions, ...chatKit } = options;
  const latest = useLatest(options);
  const [threadId, setThreadId] = useState(chatKit.initialThread ?? null);
  const [isSignInRequired, setSignInRequired] = useState(false);
  const fetchUpdates = useRef<() => Promise<void>>(async () => {});

  const fetch = useChatKitFetch({
    ...connect,
    onSignInRequired: () => {
      setSignInRequired(true);
      connect.onSignInRequired?.();
    },
    onTelemetry: (happened) => {
      if (happened.type === "answered") setSignInRequired(false);
      connect.onTelemetry?.(happened);
    },
    onReload: (gap) => {
      connect.onReload?.(gap);
      void fetchUpdates.current();
    },
  });

  const resuming = useRef<{ threadId: string; ending: AbortController } | null>(null);
  const resumeIn = useRef<(opened: string) => void>(() => {});
  const isResponding = useRef(false);

  const chat = useChatKit({
    ...chatKit,
    api: { url: connect.url, domainKey, fetch, ...(uploadStrategy === undefined ? {} : { uploadStrategy }) },
    onThreadChange: (event) => {
      setThreadId(event.threadId);
      chatKit.onThreadChange?.(event);
    },
    onThreadLoadEnd: (event) => {
      resumeIn.current(event.threadId);
      chatKit.onThreadLoadEnd?.(event);
    },
    onResponseStart: () => {
      isResponding.current = true;
      chatKit.onResponseStart?.();
    },
    onResponseEnd: () => {
      isResponding.current = false;
      chatKit.onResponseEnd?.();
    },
  });

  useEffect(() => {
    fetchUpdates.current = chat.fetchUpdates;
    resumeIn.current = (opened) => {
      if (resume === "off" || isResponding.current || resuming.current?.threadId === opened) return;
      resuming.current?.ending.abort();
      const now = { threadId: opened, ending: new AbortController() };
      resuming.current = now;
      resumeInWidget(fetch, chat, opened, { signal: now.ending.signal, live: resume === "live" })
        .catch((error: unknown) => {
          if (!now.ending.signal.aborted) latest.current.onError?.({ error: asError(error) });
        })
        .finally(() => {
          if (resuming.current === now) resuming.current = null;
        });
    };
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: a fetch is that of one user, and what one follows is no other's
  useEffect(() => {
    setSignInRequired(false);
    return () => {
      resuming.current?.ending.abort();
      resuming.current = null;
    };
  }, [fetch]);

  const stop = useCallback(
    async () => (threadId === null ? false : await fetch.stopThread(threadId)),
    [fetch, threadId],
  );

  return {
    ...chat,
    fetch,
    script: useChatKitReady(scriptOptions),
    connection: useConnection(fetch),
    isSignInRequired,
    threadId,
    stop,
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
