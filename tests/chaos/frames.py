"""The bytes of an SSE stream as they come in, cut anywhere, into whole frames. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from relaykit.shared.journal import Cursor

END = b": end "


@dataclass(frozen=True, slots=True)
class Frame:
    """One event with its cursor, its data byte for byte."""

    cursor: Cursor
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of the run: its status."""

    status: str


class BadStream(Exception):
    """The stream holds what the protocol does not."""


class Frames:
    """Takes the stream piece by piece. What is not whole when the connection is lost never came."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, part: bytes) -> list[Frame | End]:
        """The frames that this part completes. Raises BadStream."""
        *blocks, self._rest = (self._rest + part).split(b"\n\n")
        found = [frame for block in blocks if (frame := self._frame(block)) is not None]
        if self._ended and self._rest:
            raise BadStream(f"after the end: {self._rest!r}")
        return found

    def _frame(self, block: bytes) -> Frame | End | None:
        if self._ended:
            raise BadStream(f"after the end: {block!r}")
        if block.startswith(END):
            self._ended = True
            return End(block.removeprefix(END).decode())
        if block == b": ping" or block.startswith(b"retry: "):
            return None
        head, _, data = block.partition(b"\ndata: ")
        if not head.startswith(b"id: ") or not data or b"\n" in data:
            raise BadStream(f"not an event with an id: {block!r}")
        return Frame(Cursor.parse(head.removeprefix(b"id: ").decode()), data)


def described(frames: list[Frame], around: int = 0) -> list[str]:
    """Frames as a reader of a report wants them: a few, and short."""
    shown: list[Any] = frames[max(0, around - 2) : around + 3]
    return [f"{frame.cursor} {frame.data[:90].decode(errors='replace')}" for frame in shown]
