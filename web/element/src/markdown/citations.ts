import { isFields } from "../server/fields.js";
import type { Annotation, AnswerPart, Source } from "../server/protocol.js";

/** A reference in a text to the source with this number. Numbers begin at 1. */
export interface Mark {
  /** The place in the text, in UTF-16 units. */
  readonly offset: number;
  readonly number: number;
}

/** The identity of a source: annotations with the same key name the same source. */
export function sourceKey(source: Source): string {
  const { type, url, filename, id, title } = source;
  return `${type}:${[url, filename, id, title].find((name) => typeof name === "string") ?? ""}`;
}

/** The sources of an answer, each once, in the order of their first annotations. */
export function distinctSources(parts: readonly AnswerPart[]): Source[] {
  const found = new Map<string, Source>();
  for (const { source } of parts.flatMap(annotationsOf)) {
    const key = sourceKey(source);
    if (!found.has(key)) found.set(key, source);
  }
  return [...found.values()];
}

/** The marks of a part's text. Annotations without an index get no mark and are only listed. */
export function marksOf(part: AnswerPart, sources: readonly Source[]): Mark[] {
  const numbers = new Map(sources.map((source, index) => [sourceKey(source), index + 1]));
  const marks = new Map<string, Mark>();
  if (typeof part?.text !== "string") return [];
  const offsetOf = offsets(part.text);
  const placed = annotationsOf(part).flatMap(({ source, index }) =>
    typeof index === "number" ? { source, index } : [],
  );
  for (const { source, index } of placed.sort((one, other) => one.index - other.index)) {
    const number = numbers.get(sourceKey(source));
    if (number === undefined) continue;
    const offset = offsetOf(index);
    marks.set(`${offset}:${number}`, { offset, number });
  }
  return [...marks.values()];
}

function annotationsOf(part: AnswerPart): readonly Annotation[] {
  const { annotations } = part ?? {};
  return Array.isArray(annotations) ? annotations.filter((annotation) => isFields(annotation?.source)) : [];
}

/**
 * Converts numbers of characters, as Python counts them, to UTF-16 units. The caller asks in ascending order. An offset
 * behind white space moves before it, to the words that the mark belongs to.
 */
function offsets(text: string): (characters: number) => number {
  let passed = 0;
  let offset = 0;
  let behindWord = 0;
  return (characters) => {
    for (; passed < characters && offset < text.length; passed += 1) {
      const isSpace = /\s/.test(text.charAt(offset));
      offset += (text.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
      if (!isSpace) behindWord = offset;
    }
    return behindWord;
  };
}
