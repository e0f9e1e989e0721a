import type { ChatKitOptions } from "@openai/chatkit";
import type { ApiOptions } from "./server/api.js";
import { isFields } from "./server/fields.js";

/** ChatKit's options, and those that this element alone has. */
export interface ElementOptions extends ChatKitOptions {
  /**
   * Whether unsent words outlive the page, in the browser's storage; they do unless it is false. `user` is the name or
   * id of the signed-in user, without which the words of a new thread end with the page.
   */
  readonly drafts?: boolean | { readonly user?: string | null };
}

/** The user whose words a new thread keeps; null where the site names none. */
export function userOfDrafts({ drafts }: ElementOptions): string | null {
  return (typeof drafts === "object" && drafts.user) || null;
}

/** The options, once they are valid. Throws TypeError that names the invalid option. */
export function checked(options: ElementOptions): ElementOptions {
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
  checkDrafts(options.drafts);
  return options;
}

function checkDrafts(drafts: unknown): void {
  if (drafts === undefined || typeof drafts === "boolean") return;
  const user = isFields(drafts) ? (drafts.user ?? null) : undefined;
  if (user !== null && typeof user !== "string") {
    throw new TypeError("options.drafts is neither a boolean nor { user }, a string.");
  }
}

/**
 * The `api` option. A plain fetch of the site's is looked up at each request, because sites make it anew at each
 * render.
 */
export function apiOptions(current: () => ChatKitOptions): ApiOptions {
  const { api } = current();
  if (!("url" in api)) throw new TypeError("relaykit-chat needs options.api.url: a server of one's own.");
  const { url, fetch } = api;
  if (fetch === undefined || "resumeThread" in fetch) return { url, ...(fetch && { fetch }) };
  const latest: typeof globalThis.fetch = (input, init) => {
    const { api: now } = current();
    return (("fetch" in now && now.fetch) || globalThis.fetch)(input, init);
  };
  return { url, fetch: latest };
}
