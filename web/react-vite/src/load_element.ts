const STOCK_SCRIPT = "https://cdn.platform.openai.com/deployments/chatkit/chatkit.js";

export const isRelaykitsElement = import.meta.env.VITE_CHAT_ELEMENT === "relaykit";

/**
 * Loads the chat's element: OpenAI's from its network, or with `VITE_CHAT_ELEMENT=relaykit` Relaykit's, which is a part
 * of this site.
 */
export async function loadElement(): Promise<void> {
  if (isRelaykitsElement) {
    const { defineChat } = await import("@relaykit/element");
    defineChat("openai-chatkit");
    return;
  }
  document.head.append(Object.assign(document.createElement("script"), { src: STOCK_SCRIPT, async: true }));
}
