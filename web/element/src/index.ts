import { RelaykitChat } from "./element.js";

export {
  type ChatKitFetch,
  type ChatKitFetchOptions,
  createChatKitFetch,
  pageContext,
} from "@relaykit/client";
export { registerComponent } from "./widgets/components.js";
export type { SiteComponent, SiteComponentContext } from "./widgets/site_components.js";
export { RelaykitChat };

/**
 * Registers the element under another name too. `@openai/chatkit-react` renders `openai-chatkit`; a page that registers
 * this name must not load the stock script.
 */
export function defineChat(name: string): void {
  if (customElements.get(name) === undefined) customElements.define(name, class extends RelaykitChat {});
}

defineChat("relaykit-chat");
