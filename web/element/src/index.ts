import { RelaykitChat } from "./element.js";

export {
  type ChatKitFetch,
  type ChatKitFetchOptions,
  createChatKitFetch,
  pageContext,
} from "@relaykit/client";
export { RelaykitChat };

/**
 * Registers the element under another name too. `openai-chatkit` is the one that `@openai/chatkit-react` renders: the
 * stock script must then not be on the page.
 */
export function defineChat(name: string): void {
  if (customElements.get(name) === undefined) customElements.define(name, class extends RelaykitChat {});
}

defineChat("relaykit-chat");
