import { ChatKit } from "@openai/chatkit-react";
import { type ScriptState, useRelaykitChat } from "@relaykit/react";
import { useState } from "react";
import { isRelaykitsElement } from "./load_element.js";
import { fetchToken } from "./sign_in.js";

/** The key under which the user's open thread is remembered. */
const key = (user: string) => `thread of ${user}`;

interface ChatProps {
  user: string;
  script: ScriptState;
  onSignOut: () => void;
}

export function Chat({ user, script, onSignOut }: ChatProps) {
  const [initialThread] = useState(() => sessionStorage.getItem(key(user)));
  const chat = useRelaykitChat({
    connect: {
      url: "/chatkit",
      user,
      getToken: () => fetchToken(user),
      metadata: () => ({ userInfo: { id: user, name: user } }),
    },
    // OpenAI checks the key on every host but localhost.
    domainKey: import.meta.env.VITE_CHATKIT_DOMAIN_KEY ?? "local",
    initialThread,
    history: { enabled: true },
    thread: { autoScroll: true },
    ...(isRelaykitsElement ? { drafts: { user } } : {}),
    onThreadChange: ({ threadId }) => {
      if (threadId === null) sessionStorage.removeItem(key(user));
      else sessionStorage.setItem(key(user), threadId);
    },
  });
  return (
    <section aria-label="Chat">
      <div className="bar">
        <span>Signed in as {user}.</span>
        <output>{STATES[chat.connection]}</output>
        <button type="button" onClick={() => void chat.stop()}>
          Stop the answer
        </button>
        <button type="button" onClick={onSignOut}>
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
