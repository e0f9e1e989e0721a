import type { ComposerOption } from "@openai/chatkit";
import { mediaType } from "./file_type.js";

/** The rules for attachments, from ChatKit's `composer.attachments` option. */
export type AttachmentRules = NonNullable<ComposerOption["attachments"]>;

/** The properties of a file that the rules check. */
export interface FileFacts {
  readonly name: string;
  readonly size: number;
  readonly type: string;
}

const MIB = 1024 * 1024;
const DEFAULT_MAX_BYTES = 100 * MIB;
const DEFAULT_MAX_COUNT = 10;
export const UNKNOWN_TYPE = "application/octet-stream";

export function maxCount(rules: AttachmentRules): number {
  return rules.maxCount ?? DEFAULT_MAX_COUNT;
}

/** The most bytes that a file of this type may have. The most exact pattern for the type decides. */
export function maxBytes({ maxSize }: AttachmentRules, type: string): number {
  if (typeof maxSize === "number") return maxSize;
  const limits = new Map(Object.entries(maxSize ?? {}).map(([pattern, bytes]) => [mediaType(pattern), bytes]));
  const mime = mediaType(type);
  const patterns = [mime, `${mime.split("/")[0]}/*`, "*/*", "*", ""];
  return patterns.map((pattern) => limits.get(pattern)).find((bytes) => bytes !== undefined) ?? DEFAULT_MAX_BYTES;
}

/** Whether the rules accept the file's type or the ending of its name. */
export function isAccepted({ accept }: AttachmentRules, { name, type }: FileFacts): boolean {
  const patterns = Object.entries(accept ?? {});
  if (patterns.length === 0) return true;
  const mime = mediaType(type);
  const file = name.toLowerCase();
  return patterns.some(
    ([pattern, endings]) =>
      isOfType(mime, mediaType(pattern)) || endings.some((ending) => file.endsWith(dotted(ending))),
  );
}

/** The value of an <input>'s `accept` for the rules; null where they accept every file. */
export function acceptAttribute({ accept }: AttachmentRules): string | null {
  const kinds = Object.entries(accept ?? {}).flatMap(([pattern, endings]) => [pattern, ...endings.map(dotted)]);
  return kinds.join(",") || null;
}

/** The accepted endings, for people; a type without endings is named itself. */
export function allowedTypes({ accept }: AttachmentRules): string {
  const kinds = Object.entries(accept ?? {}).flatMap(([type, endings]) =>
    endings.length > 0 ? endings.map(dotted) : type,
  );
  return [...new Set(kinds)].join(", ");
}

export type FileProblem = { readonly kind: "type" } | { readonly kind: "size"; readonly maxBytes: number };

/** The reason why the rules refuse a file, or null. */
export function problemOf(file: FileFacts, rules: AttachmentRules): FileProblem | null {
  if (!isAccepted(rules, file)) return { kind: "type" };
  const most = maxBytes(rules, file.type);
  return file.size > most ? { kind: "size", maxBytes: most } : null;
}

/** A size in bytes as a text for people. */
export function sizeText(bytes: number, locale: string): string {
  const [unit, unitBytes] = bytes >= MIB ? ["megabyte", MIB] : bytes >= 1024 ? ["kilobyte", 1024] : ["byte", 1];
  const unitDisplay = unit === "byte" ? "long" : "short";
  const format = new Intl.NumberFormat(locale, {
    style: "unit",
    unit: String(unit),
    unitDisplay,
    maximumFractionDigits: 1,
  });
  return format.format(bytes / Number(unitBytes));
}

function isOfType(mime: string, pattern: string): boolean {
  if (pattern === "*/*" || pattern === "*") return true;
  return pattern.endsWith("/*") ? mime.startsWith(pattern.slice(0, -1)) : mime === pattern;
}

function dotted(ending: string): string {
  return ending.startsWith(".") ? ending.toLowerCase() : `.${ending.toLowerCase()}`;
}
