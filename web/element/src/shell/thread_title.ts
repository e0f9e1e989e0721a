import { titleOf } from "../history/titles.js";
import type { Texts } from "../texts/index.js";
import type { Opening } from "../thread/open_thread.js";
import type { ThreadState } from "../thread/state.js";

/** The part of a conversation that has a title. */
interface Titled {
  readonly state: ThreadState;
  readonly opening: Opening | null;
}

/** The title above the conversation. One that is being loaded has the name that `nameOf` knows from the list. */
export function threadTitle(
  { state, opening }: Titled,
  nameOf: (threadId: string) => string | null,
  texts: Texts,
  locale: string,
): string {
  if (opening !== null) return nameOf(opening.id) ?? texts.shell.loading;
  return state.id === null ? texts.shell.newChat : titleOf(state.title, state.createdAt, texts, locale);
}
