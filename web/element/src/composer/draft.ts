import type { Entity } from "@openai/chatkit";
import type { TagPart, UserContent } from "../server/protocol.js";

/**
 * A tag in the text of the message box. A text box holds only text, so each tag has a mark there: `@` and its title.
 * Each occurrence of the mark means the tag.
 */
export interface Mention {
  readonly mark: string;
  readonly tag: TagPart;
}

export function tagOf({ id, title, group, interactive, data }: Entity): TagPart {
  return {
    type: "input_tag",
    id,
    text: title,
    data: data ?? {},
    ...(group && { group }),
    ...(interactive && { interactive }),
  };
}

/** The parts with `data` in each tag, which the server requires. */
export function complete(content: readonly UserContent[]): UserContent[] {
  return content.map((part) => (part.type === "input_tag" ? { ...part, data: part.data ?? {} } : part));
}

/** The known mention of the tag, or else a new one with a mark that no known mention has. */
export function mentionOf(tag: TagPart, known: readonly Mention[]): Mention {
  const same = known.find((mention) => mention.tag.id === tag.id && mention.tag.text === tag.text);
  if (same) return same;
  const title = tag.text.trim() || tag.id;
  const plain = title.startsWith("@") ? title : `@${title}`;
  const marks = new Set(known.map(({ mark }) => mark));
  let mark = plain;
  for (let number = 2; marks.has(mark); number += 1) mark = `${plain} (${number})`;
  return { mark, tag };
}

/** The content of a message with this text, with the tags in the places of their marks. */
export function contentOf(text: string, mentions: readonly Mention[]): UserContent[] {
  return pieces(text.trim(), mentions).map((piece) =>
    typeof piece === "string" ? { type: "input_text", text: piece } : piece.tag,
  );
}

/** The mentions whose marks are in the text, in the order in which they became known. */
export function mentionsIn(text: string, mentions: readonly Mention[]): Mention[] {
  const held = new Set(pieces(text, mentions));
  return mentions.filter((mention) => held.has(mention));
}

/** The inverse of `contentOf`: the text for the message box, and its mentions after the known ones. */
export function written(
  content: readonly UserContent[],
  known: readonly Mention[] = [],
): { readonly text: string; readonly mentions: readonly Mention[] } {
  const mentions = [...known];
  const words = content.map((part) => {
    if (part.type !== "input_tag") return part.text;
    const mention = mentionOf(part, mentions);
    if (!mentions.includes(mention)) mentions.push(mention);
    return mention.mark;
  });
  return { text: words.join(""), mentions };
}

/** The text without a mention, and without one of the two spaces around it. */
export function withoutMention(text: string, mention: Mention, mentions: readonly Mention[]): string {
  let left = "";
  let isCut = false;
  for (const piece of pieces(text, mentions)) {
    if (piece === mention) {
      isCut = true;
      continue;
    }
    const words = typeof piece === "string" ? piece : piece.mark;
    left += isCut && words.startsWith(" ") && /(^|\s)$/.test(left) ? words.slice(1) : words;
    isCut = false;
  }
  return left;
}

/** The text, split at the marks. Where marks overlap the longest one wins. */
function pieces(text: string, mentions: readonly Mention[]): (string | Mention)[] {
  if (mentions.length === 0) return text === "" ? [] : [text];
  const byMark = new Map(mentions.map((mention) => [mention.mark, mention]));
  const marks = [...byMark.keys()].sort((one, other) => other.length - one.length);
  const anyMark = new RegExp(`(${marks.map(escaped).join("|")})`, "u");
  return text
    .split(anyMark)
    .filter((piece) => piece !== "")
    .map((piece) => byMark.get(piece) ?? piece);
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
