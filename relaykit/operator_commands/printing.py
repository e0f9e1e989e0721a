"""What the commands print: tables and lines for people, JSON for programs, one clear line for what went wrong."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from relaykit.shared.errors import RelaykitError
from relaykit.shared.operating.shapes import jsonable


def plain(value: object) -> str:
    """A cell. An id or a user's name must not move the terminal's cursor, or colour it."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value)
    )


def duration(seconds: float | None) -> str:
    """Two units at most: `1.3s`, `12m5s`, `3h20m`, `5d4h`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{max(seconds, 0):.1f}s"
    for unit, below, name, name_below in ((86_400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // below}{name_below}"
    raise AssertionError


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns beside each other; the heads alone where there is nothing."""
    cells = [list(heads), *([plain(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """A line for each."""
    width = max(map(len, fields)) + 2
    for name, value in fields.items():
        print(f"{name}:".ljust(width) + plain(value))


def print_json(value: object) -> None:
    """One line."""
    print(json.dumps(jsonable(value), separators=(",", ":"), ensure_ascii=True))


def say(line: str, end: str = "\n") -> None:
    """Writes to stderr; ignores a closed one."""
    try:
        print(line, end=end, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """The stream has no reader any more: what is left in its buffer, and all that comes, is written to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def describe_error(error: RelaykitError) -> str:
    return f"{error.code}: {' '.join(error.message.split())}"
