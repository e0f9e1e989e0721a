"use client";

import { useChatKitReady } from "@relaykit/react";
import { Chat } from "./chat";
import { SignIn } from "./sign_in";

/** The chat, or the sign-in before it. */
export function Shop({ user }: { user: string | null }) {
  // From the page's beginning, because a script that fails before the sign-in cannot always be told from one that loads.
  const script = useChatKitReady();
  return user === null ? <SignIn /> : <Chat user={user} script={script} />;
}
