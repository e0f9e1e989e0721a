"use client";

import { ChatKit } from "@openai/chatkit-react";
import { type ScriptState, useRelaykitChat } from "@relaykit/react";
import { useRouter } from "next/navigation";
import { useEffect, useState, useSyncExternalStore } from "react";

/** The key under which the user's open thread is remembered. */
const key = (user: string) => `thread of ${user}`;
const never = () => () => {};
/** Relaykit's element in the place of OpenAI's, whose script `layout.tsx` then leaves out. */
const isRelaykitsElement = process.env.NEXT_PUBLIC_CHAT_ELEMENT === "relaykit";

interface ChatProps {
  user: string;
  script: ScriptState;
}

/** The chat. It is rendered only in the browser, because the browser remembers the last visit. */
export function Chat(props: ChatProps) {
  const isInBrowser = useSyncExternalStore(
    never,
    () => true,
    () => false,
  );
  return isInBrowser ? <OpenChat {...props} /> : null;
}

async function loadElement(): Promise<void> {
  const { defineChat } = await import("@relaykit/element");
  defineChat("openai-chatkit");
}

function OpenChat({ user, script }: ChatProps) {
  const router = useRouter();
  useEffect(() => {
    if (isRelaykitsElement) void loadElement();
  }, []);
  const [initialThread] = useState(() => sessionStorage.getItem(key(user)));
  const chat = useRelaykitChat({
    // The page has no token: the cookie signs in, and this site's own routes add the token to each request.
    connect: { url: "/api/chatkit", user, metadata: () => ({ userInfo: { id: user, name: user } }) },
    // OpenAI checks the key on every host but localhost.
    domainKey: process.env.NEXT_PUBLIC_CHATKIT_DOMAIN_KEY ?? "local",
    initialThread,
    history: { enabled: true },
    thread: { autoScroll: true },
    ...(isRelaykitsElement ? { drafts: { user } } : {}),
    onThreadChange: ({ threadId }) => {
      if (threadId === null) sessionStorage.removeItem(key(user));
      else sessionStorage.setItem(key(user), threadId);
    },
  });
  const signOut = async () => {
    await fetch("/api/session", { method: "DELETE" });
    router.refresh();
  };
  return (
    <section aria-label="Chat">
      <div className="bar">
        <span>Signed in as {user}.</span>
        <output>{STATES[chat.connection]}</output>
        <button type="button" onClick={() => void chat.stop()}>
          Stop the answer
        </button>
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </div>
      {chat.isSignInRequired && <p role="alert">Your session is over. Sign out and in again.</p>}
      {script === "error" && <p role="alert">ChatKit could not be loaded. Is its script blocked?</p>}
      {script === "ready" && <ChatKit control={chat.control} />}
    </section>
  );
}

const STATES = {
  idle: "",
  connecting: "Sending …",
  signing_in: "Signing in again …",
  open: "Answering …",
  reconnecting: "Connection lost: going on in a moment …",
  offline: "No network: the answer goes on once it is back.",
} as const;
