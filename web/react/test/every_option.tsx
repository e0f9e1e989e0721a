// The test is that this file compiles: the hook takes every option of @openai/chatkit-react, under its own types.
import { ChatKit, type ChatKitOptions, type UseChatKitOptions } from "@openai/chatkit-react";
import { createChatKitFetch } from "@relaykit/client";
import { useRelaykitChat } from "../src/index.js";

const every: Required<Omit<UseChatKitOptions, "api">> = {
  locale: "de",
  theme: { colorScheme: "dark", radius: "round", density: "compact", color: { accent: { primary: "#123", level: 1 } } },
  frameTitle: "Chat",
  initialThread: null,
  header: { enabled: true, title: { text: "Shop" }, leftAction: { icon: "menu", onClick: () => {} } },
  history: { enabled: true, showDelete: true, showRename: true },
  startScreen: { greeting: "Hello", prompts: [{ label: "Hi", prompt: "Hi", icon: "star" }] },
  threadItemActions: { feedback: true, retry: true },
  composer: {
    placeholder: "Ask",
    attachments: { enabled: true, maxSize: 1_000, maxCount: 2, accept: { "image/*": [".png"] } },
    tools: [{ id: "search", label: "Search", icon: "search", pinned: true }],
    models: [{ id: "small", label: "Small", default: true }],
    dictation: { enabled: false },
  },
  disclaimer: { text: "Check it", highContrast: true },
  entities: { onTagSearch: async () => [{ title: "Ada", id: "1" }], onClick: () => {}, showComposerMenu: true },
  commands: { enabled: true, onSearch: async () => [{ id: "1", label: "One" }] },
  widgets: { onAction: async () => {} },
  thread: { autoScroll: true },
  onClientTool: () => ({}),
  onError: ({ error }) => void error.message,
  onHistoryClose: () => {},
  onHistoryOpen: () => {},
  onResponseEnd: () => {},
  onResponseStart: () => {},
  onLog: ({ name }) => void name,
  onThreadChange: ({ threadId }) => void threadId,
  onThreadLoadStart: ({ threadId }) => void threadId,
  onThreadLoadEnd: ({ threadId }) => void threadId,
  onToolChange: ({ toolId }) => void toolId,
  onReady: () => {},
  onEffect: ({ name }) => void name,
  onDeeplink: ({ name }) => void name,
};

/** The client without React, for the stock element. */
export const plain: ChatKitOptions = {
  api: { url: "/chatkit", domainKey: "local", fetch: createChatKitFetch({ url: "/chatkit" }) },
};

export function Chat() {
  const chat = useRelaykitChat({
    ...every,
    domainKey: "local",
    uploadStrategy: { type: "two_phase" },
    resume: "updates",
    script: { timeoutMs: 5_000 },
    drafts: { user: "ada" },
    connect: { url: "/chatkit", user: "ada", getToken: async () => "token", metadata: () => ({ plan: "pro" }) },
  });
  if (chat.isSignInRequired) return <a href="/sign-in">Sign in</a>;
  if (chat.script !== "ready") return <p>{chat.script}</p>;
  return (
    <>
      <output>{chat.connection}</output>
      <button type="button" onClick={() => void chat.stop()}>
        Stop
      </button>
      <ChatKit control={chat.control} ref={chat.ref} />
    </>
  );
}
