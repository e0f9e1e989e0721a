import { type ElementOptions, userOfDrafts } from "../../options.js";
import { browserStorage, DraftStore } from "./draft_store.js";
import type { DraftsHost } from "./thread_drafts.js";

/** The drafts of a chat. A chat whose site keeps none drops those that are there. */
export function draftsOf(options: ElementOptions, url: string): DraftsHost {
  const chat = new URL(url, location.href).href;
  const inMemory = new DraftStore(null, chat);
  const stored = new DraftStore(browserStorage(), chat);
  const isOn = options.drafts !== false;
  if (!isOn) stored.clear();
  return { kept: isOn ? stored : inMemory, inMemory, user: userOfDrafts(options) };
}
