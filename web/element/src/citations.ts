import type { Annotation, AnswerPart, Source } from "./protocol.js";

/** A reference in a text to the source with this number; numbers begin at 1. */
export interface Mark {
  /** In UTF-16 units of the text. */
  readonly offset: number;
  readonly number: number;
}

/** What makes two annotations speak of the same source. */
export function sourceKey(source: Source): string {
  return `${source.type}:${source.url ?? source.filename ?? source.id ?? source.title ?? ""}`;
}

/** The sources of an answer, each once, in the order in which they are first named. */
export function distinctSources(parts: readonly AnswerPart[]): Source[] {
  const found = new Map<string, Source>();
  for (const { source } of parts.flatMap(annotationsOf)) {
    const key = sourceKey(source);
    if (!found.has(key)) found.set(key, source);
  }
  return [...found.values()];
}

/** Where a part's text refers to which source. Annotations without an index are only listed. */
export function marksOf(part: AnswerPart, sources: readonly Source[]): Mark[] {
  const numbers = new Map(sources.map((source, index) => [sourceKey(source), index + 1]));
  const marks = new Map<string, Mark>();
  for (const { source, index } of annotationsOf(part)) {
    const number = numbers.get(sourceKey(source));
    if (typeof index !== "number" || number === undefined) continue;
    const offset = offsetOf(part.text, index);
    marks.set(`${offset}:${number}`, { offset, number });
  }
  return [...marks.values()].sort((one, other) => one.offset - other.offset);
}

function annotationsOf(part: AnswerPart): readonly Annotation[] {
  return (part.annotations ?? []).filter((annotation) => annotation?.source);
}

/** Servers count characters as Python does; what follows white space stands before it, at the words it belongs to. */
function offsetOf(text: string, characters: number): number {
  let offset = 0;
  for (let passed = 0; passed < characters && offset < text.length; passed += 1) {
    offset += (text.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
  }
  while (offset > 0 && /\s/.test(text.charAt(offset - 1))) offset -= 1;
  return offset;
}
