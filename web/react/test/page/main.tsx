// A page on which another user signs in while the chat is shown.
import { ChatKit } from "@openai/chatkit-react";
import { useRelaykitChat } from "@relaykit/react";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

const given = new URLSearchParams(location.search);
const [ADA = "", BOB = ""] = given.getAll("user");

async function tokenOf(user: string): Promise<string> {
  const response = await fetch("/dev/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sub: user }),
  });
  return (await response.json()).access_token;
}

function Page() {
  const [user, setUser] = useState(ADA);
  const chat = useRelaykitChat({
    connect: { url: "/chatkit", user, getToken: () => tokenOf(user) },
    domainKey: "local",
    ...(given.has("drafts") ? { drafts: { user } } : {}),
  });
  return (
    <main>
      <h1>{user}</h1>
      <button type="button" onClick={() => setUser(BOB)}>
        Be Bob
      </button>
      <output aria-label="Connection">{chat.connection}</output>
      <output aria-label="Thread">{chat.threadId ?? "none"}</output>
      {chat.script === "ready" && <ChatKit control={chat.control} />}
    </main>
  );
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
