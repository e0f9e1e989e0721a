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

/** `useChatKit`'s options without `api`, which the hook makes of the others. */
export interface UseRelaykitChatOptions extends Omit<UseChatKitOptions, "api"> {
  readonly connect: UseChatKitFetchOptions;
  readonly domainKey: string;
  readonly uploadStrategy?: CustomApiConfig["uploadStrategy"];
  /**
   * The way in which an opened thread shows its active run: `updates` (default) shows each item once it is finished,
   * `live` shows the words as they arrive, which is unproven (see `resumeInWidget`), and `off` shows nothing.
   */
  readonly resume?: "updates" | "live" | "off";
  readonly script?: ChatKitReadyOptions;
  /**
   * Of `<relaykit-chat>` alone: whether unsent words outlive the page, and the user whose words a new thread keeps.
   * OpenAI's script does not know it.
   */
  readonly drafts?: boolean | { readonly user?: string | null };
}

export interface UseRelaykitChatReturn extends UseChatKitReturn {
  readonly fetch: ChatKitFetch;
  /** The state of ChatKit's script; the site renders `<ChatKit>` once it is `ready`. */
  readonly script: ScriptState;
  readonly connection: ConnectionState;
  /** Whether the user must sign in. It is false again with another user, and after an answer of the server. */
  readonly isSignInRequired: boolean;
  readonly threadId: string | null;
  /**
   * Stops the open thread's run, also one of another tab; false where there is none, or where it failed: see `onError`.
   */
  stop(): Promise<boolean>;
}

/** ChatKit with sign-in, page context, resume, script detection and Stop: everything that a site has to wire. */
export function useRelaykitChat(options: UseRelaykitChatOptions): UseRelaykitChatReturn {
  const { connect, domainKey, uploadStrategy, resume = "updates", script: scriptOptions, ...chatKit } = options;
  const latest = useLatest(options);
  const [threadId, setThreadId] = useState(chatKit.initialThread ?? null);
  const [isSignInRequired, setSignInRequired] = useState(false);
  const element = useRef<UseChatKitReturn | null>(null);

  const fetch = useChatKitFetch({
    ...connect,
    onSignInRequired: () => {
      setSignInRequired(true);
      connect.onSignInRequired?.();
    },
    onTelemetry: (event) => {
      if (event.type === "answered") setSignInRequired(false);
      connect.onTelemetry?.(event);
    },
    onReload: (gap) => {
      connect.onReload?.(gap);
      return element.current?.fetchUpdates();
    },
  });

  const resuming = useRef<AbortController | null>(null);
  const isResponding = useRef(false);
  const resumeIn = (opened: string) => {
    if (resume === "off" || isResponding.current || element.current === null) return;
    resuming.current ??= new AbortController();
    const { signal } = resuming.current;
    resumeInWidget(fetch, element.current, opened, { signal, live: resume === "live" }).catch((error: unknown) => {
      if (!signal.aborted) latest.current.onError?.({ error: asError(error) });
    });
  };

  const chat = useChatKit({
    ...chatKit,
    api: { url: connect.url, domainKey, fetch, ...(uploadStrategy === undefined ? {} : { uploadStrategy }) },
    onThreadChange: (event) => {
      setThreadId(event.threadId);
      chatKit.onThreadChange?.(event);
    },
    onThreadLoadEnd: (event) => {
      resumeIn(event.threadId);
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
    element.current = chat;
  });

  const before = useRef(fetch);
  useEffect(() => {
    if (before.current !== fetch) {
      // Another user signs in: the open thread and its state belong to the user before.
      before.current = fetch;
      isResponding.current = false;
      setSignInRequired(false);
      setThreadId(null);
      if (chat.ref.current !== null) void chat.setThreadId(null);
    }
    return () => {
      resuming.current?.abort();
      resuming.current = null;
    };
  }, [fetch, chat.ref, chat.setThreadId]);

  const stop = useCallback(async () => {
    if (threadId === null) return false;
    try {
      return await fetch.stopThread(threadId);
    } catch (error) {
      latest.current.onError?.({ error: asError(error) });
      return false;
    }
  }, [fetch, threadId, latest]);

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
