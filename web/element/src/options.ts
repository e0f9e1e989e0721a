import type { ChatKitOptions } from "@openai/chatkit";

/** The options, where a chat can be made of them. Throws TypeError that names what is wrong. */
export function checked(options: ChatKitOptions): ChatKitOptions {
  if (typeof options !== "object" || options === null) throw new TypeError("setOptions takes ChatKit's options.");
  const { api } = options;
  if (typeof api !== "object" || api === null) throw new TypeError("options.api is missing.");
  if (!("url" in api) || typeof api.url !== "string" || api.url === "") {
    throw new TypeError(
      "options.api.url is missing: this element speaks to a ChatKit server of one's own, not to a hosted one.",
    );
  }
  if (api.fetch !== undefined && typeof api.fetch !== "function")
    throw new TypeError("options.api.fetch is no function.");
  const { attachments } = options.composer ?? {};
  if (attachments?.enabled && api.uploadStrategy === undefined) {
    throw new TypeError("options.composer.attachments needs options.api.uploadStrategy.");
  }
  return options;
}
