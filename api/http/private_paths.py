"""Paths that a proxy keeps from the public, by the bytes that it sees: `/metrics`, and `/ops` with all below.

A proxy may compare the path as it was sent, and the API reads it decoded. So these are reached by their own letters
alone: to the API `/%6fps` is no path of theirs, whatever a proxy takes it for.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Scope

_DECODED: Final = re.compile(r"/(?:metrics|ops)(?:/|\Z)")
_SENT: Final = re.compile(rb"/(?:metrics|ops)(?:/|\Z)")

NO_PATH: Final = "*"
"""A path that no route has."""


def is_disguised(scope: Scope) -> bool:
    """Whether the path leads to a private one only when it is decoded. What is encoded behind that does not matter."""
    raw_path: bytes = scope["raw_path"]
    return b"%" in raw_path and _DECODED.match(scope["path"]) is not None and _SENT.match(raw_path) is None
