import type { Texts } from "../texts/index.js";

type Word = keyof Texts["shell"];

/** What a header button with an icon most likely does, by the icon's name or its beginning. The first match counts. */
const WORDS: readonly (readonly [beginning: string, word: Word])[] = [
  ["sidebar-", "headerSidebar"],
  ["open-", "headerSidebar"],
  ["double-chevron-", "headerSidebar"],
  ["collapse-left", "headerSidebar"],
  ["collapse-right", "headerSidebar"],
  ["collapse-", "headerCollapse"],
  ["expand-", "headerExpand"],
  ["home", "headerHome"],
  ["back-", "headerBack"],
  ["star", "headerStar"],
  ["bug", "headerBug"],
  ["chat-temporary", "headerTemporary"],
  ["settings-", "headerSettings"],
  ["grid", "headerOverview"],
  ["dots-", "headerMenu"],
  ["menu", "headerMenu"],
  ["hamburger", "headerMenu"],
  ["history", "history"],
  ["book-", "headerGuide"],
  ["compose", "newChat"],
  ["share", "headerShare"],
  ["light-mode", "headerLight"],
  ["dark-mode", "headerDark"],
  ["close", "headerClose"],
];

/** A name for people of a header button that has only an icon. Another icon gives its own name, without hyphens. */
export function headerIconName(icon: string, texts: Texts["shell"]): string {
  const found = WORDS.find(([beginning]) => icon.startsWith(beginning));
  return found === undefined ? icon.replaceAll("-", " ") : texts[found[1]];
}
