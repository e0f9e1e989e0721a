"""Well-formed text. A browser and a model cut strings between UTF-16 units: half an emoji is a lone surrogate.

Neither UTF-8 nor PostgreSQL takes a lone surrogate. Here two halves that follow each other become their character,
and a lone one becomes U+FFFD, as `String.prototype.toWellFormed()` does in a browser.
"""

from __future__ import annotations

import re
from typing import Any, Final

_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPES: Final = re.compile(
    rb"((?:\\[^u][^\\]*)+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # stays as it is
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"  # a lone half
)
_REPLACEMENT: Final = rb"\ufffd"


def well_formed(text: str) -> str:
    """The text without lone surrogates; the same object where it has no surrogate."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def well_formed_json(value: Any) -> Any:
    """A copy of a JSON value in which every string and every key is well-formed."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed_json(key): well_formed_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [well_formed_json(entry) for entry in value]
    return value


def well_formed_escapes(body: bytes) -> bytes:
    r"""JSON text in which each lone half that is spelt as an escape, such as `\ud83d`, is spelt as `\ufffd`."""
    return _ESCAPES.sub(lambda found: found[1] or _REPLACEMENT, body)
