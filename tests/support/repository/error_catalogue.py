"""The errors that docs/protocol.md lists, and whether an answer is one of them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

PROTOCOL = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"
_ROW = re.compile(r"^\| (\d{3}) \| ((?:`[a-z_]+`(?: · )?)+) \|", re.MULTILINE)


@cache
def documented_errors() -> dict[int, frozenset[str]]:
    """The codes of each status."""
    found: dict[int, set[str]] = {}
    for status, codes in _ROW.findall(PROTOCOL.read_text()):
        found.setdefault(int(status), set()).update(re.findall("[a-z_]+", codes))
    assert found, "docs/protocol.md has no table of errors"
    return {status: frozenset(codes) for status, codes in found.items()}


class Answered(Protocol):
    """A response of httpx2, or of tests/support/clients/raw_http.py."""

    @property
    def headers(self) -> Any: ...
    @property
    def text(self) -> str: ...


def assert_documented_error(response: Answered, status: int) -> None:
    """The one shape, a code that stands in the table beside this status, and something to read."""
    assert response.headers["content-type"] == "application/json", response.text
    body = json.loads(response.text)
    assert set(body) == {"error"}, body
    assert body["error"]["code"] in documented_errors().get(status, ()), response.text
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
