export type { ScriptState } from "@relaykit/client";
export { type UseChatKitFetchOptions, useChatKitFetch } from "./use_chat_kit_fetch.js";
export { useChatKitReady } from "./use_chat_kit_ready.js";
export { useConnection } from "./use_connection.js";
export { type UseRelaykitChatOptions, type UseRelaykitChatReturn, useRelaykitChat } from "./use_relaykit_chat.js";
