/**
 * The type of a file, by the browser's type and by the ending of its name. Browsers take the type from the system: many
 * have none for `.md`, and where a spreadsheet program is installed a `.csv` is `application/vnd.ms-excel`.
 *
 * The server has the same tables, in shared/attachments/media_types.py, and decides.
 */

/** The types that a browser gives to a file that it does not know. */
const UNKNOWN = new Set([
  "",
  "application/octet-stream",
  "application/unknown",
  "application/x-unknown",
  "binary/octet-stream",
]);

/** Other names of the same types. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  "image/jpg": "image/jpeg",
  "image/pjpeg": "image/jpeg",
  "image/x-png": "image/png",
  "application/x-pdf": "application/pdf",
  "application/acrobat": "application/pdf",
  "text/x-markdown": "text/markdown",
  "text/md": "text/markdown",
  "application/csv": "text/csv",
  "application/x-csv": "text/csv",
  "text/x-csv": "text/csv",
  "text/comma-separated-values": "text/csv",
  "text/x-comma-separated-values": "text/csv",
  "text/json": "application/json",
  "application/x-json": "application/json",
  "application/x-zip-compressed": "application/zip",
  "audio/mp3": "audio/mpeg",
  "audio/x-wav": "audio/wav",
  "audio/wave": "audio/wav",
  "audio/x-m4a": "audio/mp4",
  "image/x-ms-bmp": "image/bmp",
  "image/x-bmp": "image/bmp",
  "image/x-tiff": "image/tiff",
  "application/x-yaml": "application/yaml",
  "text/yaml": "application/yaml",
  "text/x-yaml": "application/yaml",
  "text/rtf": "application/rtf",
  "application/x-rtf": "application/rtf",
  "text/richtext": "application/rtf",
  "application/x-msexcel": "application/vnd.ms-excel",
  "application/msexcel": "application/vnd.ms-excel",
  "application/vnd.msexcel": "application/vnd.ms-excel",
  "application/excel": "application/vnd.ms-excel",
  "application/x-excel": "application/vnd.ms-excel",
  "application/x-msword": "application/msword",
  "application/vnd.ms-word": "application/msword",
  "application/mspowerpoint": "application/vnd.ms-powerpoint",
  "application/wps-office.doc": "application/msword",
  "application/wps-office.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
  "application/wps-office.xls": "application/vnd.ms-excel",
  "application/wps-office.xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  "application/wps-office.ppt": "application/vnd.ms-powerpoint",
  "application/wps-office.pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
  "text/x-vcard": "text/vcard",
  "text/x-vcalendar": "text/calendar",
  "application/ics": "text/calendar",
  "text/x-script.python": "text/x-python",
  "application/x-python": "text/x-python",
  "audio/x-mp3": "audio/mpeg",
  "audio/x-mpeg": "audio/mpeg",
  "audio/vnd.wave": "audio/wav",
  "audio/x-aac": "audio/aac",
  "audio/x-flac": "audio/flac",
  "audio/x-ogg": "audio/ogg",
  "video/x-m4v": "video/mp4",
  "video/avi": "video/x-msvideo",
  "video/msvideo": "video/x-msvideo",
  "video/x-quicktime": "video/quicktime",
};

const OF_ENDING: Readonly<Record<string, string>> = {
  csv: "text/csv",
  tsv: "text/tab-separated-values",
  txt: "text/plain",
  text: "text/plain",
  log: "text/plain",
  md: "text/markdown",
  markdown: "text/markdown",
  json: "application/json",
  xml: "application/xml",
  yaml: "application/yaml",
  yml: "application/yaml",
  pdf: "application/pdf",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  jpe: "image/jpeg",
  jfif: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  docx: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
  xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  pptx: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
  zip: "application/zip",
  mp3: "audio/mpeg",
  wav: "audio/wav",
  m4a: "audio/mp4",
  heic: "image/heic",
  heif: "image/heif",
  avif: "image/avif",
  bmp: "image/bmp",
  tif: "image/tiff",
  tiff: "image/tiff",
  mp4: "video/mp4",
  m4v: "video/mp4",
  mov: "video/quicktime",
  webm: "video/webm",
  ogv: "video/ogg",
  avi: "video/x-msvideo",
  mpeg: "video/mpeg",
  mpg: "video/mpeg",
  ogg: "audio/ogg",
  oga: "audio/ogg",
  opus: "audio/ogg",
  flac: "audio/flac",
  aac: "audio/aac",
  doc: "application/msword",
  xls: "application/vnd.ms-excel",
  ppt: "application/vnd.ms-powerpoint",
  rtf: "application/rtf",
  odt: "application/vnd.oasis.opendocument.text",
  ods: "application/vnd.oasis.opendocument.spreadsheet",
  odp: "application/vnd.oasis.opendocument.presentation",
  epub: "application/epub+zip",
  ics: "text/calendar",
  vcf: "text/vcard",
  py: "text/x-python",
  c: "text/x-c",
  h: "text/x-c",
  cpp: "text/x-c++",
  cs: "text/x-csharp",
  go: "text/x-golang",
  java: "text/x-java",
  rb: "text/x-ruby",
  tex: "text/x-tex",
  gz: "application/gzip",
  tar: "application/x-tar",
  "7z": "application/x-7z-compressed",
};

/** Wrong types by ending: they name the program that opens such a file, or its packing. */
const MISTAKEN: Readonly<Record<string, readonly string[]>> = {
  csv: ["application/vnd.ms-excel", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
  tsv: ["application/vnd.ms-excel", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"],
  doc: ["application/vnd.ms-office"],
  xls: ["application/vnd.ms-office"],
  ppt: ["application/vnd.ms-office"],
  docx: ["application/msword", "application/vnd.ms-office", "application/zip"],
  xlsx: ["application/vnd.ms-excel", "application/vnd.ms-office", "application/zip"],
  pptx: ["application/vnd.ms-office", "application/vnd.ms-powerpoint", "application/zip"],
  odt: ["application/zip"],
  ods: ["application/zip"],
  odp: ["application/zip"],
  epub: ["application/zip"],
  ogg: ["application/ogg", "video/ogg"],
};

const PLAIN_TEXT = "text/plain";
/** The endings of plain text that has a type of its own besides. */
const TEXT_ENDINGS = new Set([
  "c",
  "cpp",
  "cs",
  "csv",
  "go",
  "h",
  "ics",
  "java",
  "json",
  "markdown",
  "md",
  "py",
  "rb",
  "tex",
  "tsv",
  "vcf",
  "xml",
  "yaml",
  "yml",
]);

/** The type's usual name: `Text/Plain; charset=utf-8` becomes text/plain, and image/jpg becomes image/jpeg. */
export function mediaType(declared: string): string {
  const bare = (declared.split(";")[0] ?? "").trim().toLowerCase();
  return own(OTHER_NAMES, bare) ?? bare;
}

/**
 * The possible types of the file, the likeliest first. The ending decides where the browser's type is absent or wrong.
 */
export function possibleTypes(name: string, declared: string): string[] {
  const given = mediaType(declared);
  const ending = /\.([^.]*)$/.exec(name.trim().toLowerCase())?.[1] ?? "";
  const byEnding = own(OF_ENDING, ending);
  if (byEnding === undefined || byEnding === given) return [given];
  if (UNKNOWN.has(given) || own(MISTAKEN, ending)?.includes(given)) return [byEnding, given];
  return given === PLAIN_TEXT && TEXT_ENDINGS.has(ending) ? [given, byEnding] : [given];
}

/** The file with its likeliest type that is accepted, or else with its likeliest type. Its bytes are not copied. */
export function typed(file: File, isAccepted: (type: string) => boolean): File {
  const types = possibleTypes(file.name, file.type);
  const type = types.find(isAccepted) ?? types[0] ?? "";
  if (type === file.type) return file;
  return new File([file], file.name, { type, lastModified: file.lastModified });
}

function own<Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
