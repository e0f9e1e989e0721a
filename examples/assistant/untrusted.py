"""Text from a browser on its way into a prompt: bounded, cleaned, and fenced off as data."""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

DELIMITER = "untrusted_data"
MARK_BYTES = 8
JOINERS = frozenset("\u200c\u200d")
"""Invisible, but emoji and several scripts need them."""

_DELIMITER_LIKE = re.compile(DELIMITER, re.IGNORECASE)
_JWT_LIKE = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*")
"""By its beginning alone: a piece of a token is removed too, and the search stays linear."""
REDACTED = "[removed]"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, and a note of how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit} more characters left out]"


def without_controls(text: str) -> str:
    """Without control and invisible format characters, which can hide text from the user who sent it."""
    return "".join(
        character
        for character in text
        if character in "\n\t"
        or character in JOINERS
        or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co"}
    )


def one_line(text: str, limit: int) -> str:
    return cut(" ".join(without_controls(text[: limit * 4]).split()), limit)


def without_tokens(text: str, token: str | None = None) -> str:
    """Without `token`, and without anything that looks like a signed token."""
    if token:
        text = text.replace(token, REDACTED)
    return _JWT_LIKE.sub(REDACTED, text)


@dataclass(frozen=True, slots=True)
class Fence:
    """The delimiters of one run. Their mark is random, so that no text that was written before the run can end a block.

    Spelling the delimiter's name with joiners or look-alikes does not help such a text: it does not have the mark.
    """

    mark: str = field(default_factory=lambda: secrets.token_hex(MARK_BYTES))

    @property
    def delimiter(self) -> str:
        return f"{DELIMITER}_{self.mark}"

    def block(self, kind: str, text: str, attributes: Mapping[str, str] | None = None) -> str:
        """`text` between the run's delimiters."""
        shown = {"kind": kind, **(attributes or {})}
        values = {
            name: json.dumps(_escaped(_harmless(value)), ensure_ascii=False) for name, value in shown.items()
        }
        head = " ".join(f"{name}={value}" for name, value in values.items())
        return f"<{self.delimiter} {head}>\n{_harmless(text)}\n</{self.delimiter}>"

    def json_block(self, kind: str, value: object) -> str:
        """`value` as JSON in a block; no string in it can hold a line break or an angle bracket."""
        return self.block(kind, _escaped(json.dumps(value, ensure_ascii=False, default=str)))


def _escaped(text: str) -> str:
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _harmless(text: str) -> str:
    return _DELIMITER_LIKE.sub("untrusted data", without_controls(text))
