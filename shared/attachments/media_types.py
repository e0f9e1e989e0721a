"""The type of a file, by what its client says and by the ending of its name.

Browsers take the type from the system that they run on. Many have none for `.md` or `.log`; where a spreadsheet program
is installed a `.csv` is `application/vnd.ms-excel`; and some types have names that only one system gives them. What is
here gives no file a type that its client could not have declared: whether a type is allowed is asked afterwards.

web/element/src/composer/attachments/file_type.ts has the same tables.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

UNKNOWN: Final = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "application/x-unknown"}
)
"""What a client says that does not know."""

OTHER_NAMES: Final = {
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
}
"""Names of a type that are not the registered one, with that one."""

OF_ENDING: Final = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "text": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "json": "application/json",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "pdf": "application/pdf",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jpe": "image/jpeg",
    "jfif": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "zip": "application/zip",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "m4a": "audio/mp4",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "ogv": "video/ogg",
    "avi": "video/x-msvideo",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "ogg": "audio/ogg",
    "oga": "audio/ogg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "rtf": "application/rtf",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "epub": "application/epub+zip",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "py": "text/x-python",
    "c": "text/x-c",
    "h": "text/x-c",
    "cpp": "text/x-c++",
    "cs": "text/x-csharp",
    "go": "text/x-golang",
    "java": "text/x-java",
    "rb": "text/x-ruby",
    "tex": "text/x-tex",
    "gz": "application/gzip",
    "tar": "application/x-tar",
    "7z": "application/x-7z-compressed",
}
"""The types of endings that say enough; none of them is a type that a browser would run."""

_EXCEL = "application/vnd.ms-excel"
_ZIP = frozenset({"application/zip"})
_OFFICE = frozenset({"application/vnd.ms-office"})

MISTAKEN: Final = {
    "csv": frozenset({_EXCEL, OF_ENDING["xlsx"]}),
    "tsv": frozenset({_EXCEL, OF_ENDING["xlsx"]}),
    "doc": _OFFICE,
    "xls": _OFFICE,
    "ppt": _OFFICE,
    "docx": _ZIP | _OFFICE | {OF_ENDING["doc"]},
    "xlsx": _ZIP | _OFFICE | {_EXCEL},
    "pptx": _ZIP | _OFFICE | {OF_ENDING["ppt"]},
    "odt": _ZIP,
    "ods": _ZIP,
    "odp": _ZIP,
    "epub": _ZIP,
    "ogg": frozenset({"video/ogg", "application/ogg"}),
}
"""For each ending: types that name the program which opens such a file, or what it is packed in, and not the file."""

PLAIN_TEXT: Final = "text/plain"
TEXT_ENDINGS: Final = frozenset(
    {
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
    }
)
"""Endings of plain text that has a type of its own besides."""


def media_type(declared: str) -> str:
    """`Text/Plain; charset=utf-8` is text/plain, and image/jpg is image/jpeg."""
    bare = declared.partition(";")[0].strip().lower()
    return OTHER_NAMES.get(bare, bare)


def possible_types(name: str, declared: str) -> list[str]:
    """What the file may be, the likeliest first: the ending decides where the declared type is absent or wrong."""
    given = media_type(declared)
    _, dot, ending = name.strip().lower().rpartition(".")
    by_ending = OF_ENDING.get(ending) if dot else None
    if by_ending is None or by_ending == given:
        return [given]
    if given in UNKNOWN or given in MISTAKEN.get(ending, ()):
        return [by_ending, given]
    if given == PLAIN_TEXT and ending in TEXT_ENDINGS:
        return [given, by_ending]
    return [given]


def may_be(mime_type: str, name: str, declared: str) -> bool:
    """Whether a file of that type may come with this declaration; one that knows nothing contradicts nothing."""
    given = media_type(declared)
    return given in UNKNOWN or media_type(mime_type) in possible_types(name, given)


def allowed_type(name: str, declared: str, allowed: Collection[str]) -> str | None:
    """The likeliest of the types that are allowed; None where none is."""
    return next((each for each in possible_types(name, declared) if each in allowed), None)
