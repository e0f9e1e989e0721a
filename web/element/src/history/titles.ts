import { fill, type Texts } from "../texts/index.js";
import { formatsOf } from "./formats.js";

/** The name of a thread: its title, or else the time at which it began. */
export function titleOf(
  title: string | null | undefined,
  createdAt: string | null | undefined,
  { shell }: Texts,
  locale: string,
): string {
  if (title) return title;
  const at = createdAt ? new Date(createdAt) : null;
  if (at === null || Number.isNaN(at.getTime())) return shell.newChat;
  return fill(shell.untitled, { when: formatsOf(locale).time.format(at) });
}

/** Whether each word of the query is in the name, whatever its case and its accents. */
export function matches(name: string, query: string): boolean {
  const found = folded(name);
  return folded(query)
    .split(/\s+/)
    .every((word) => found.includes(word));
}

function folded(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}
