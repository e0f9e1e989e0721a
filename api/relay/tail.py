"""The newest entries of a journal in memory, shared by all who follow the run. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from relaykit.api.relay.sse import encode
from relaykit.shared.journal import START, Cursor, Entry, Field

FIRST = Cursor(0, 1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What follows a cursor: bytes to send, the cursor after them, and whether they hold the run's end."""

    data: bytes
    cursor: Cursor
    ended: bool


def continues(cursor: Cursor, entry: Entry) -> bool:
    """Whether `entry` is the next after `cursor`, with no hole between; the seqs of an attempt have none.

    A journal begins with what admission wrote, so nothing but its first entry follows the start. An attempt that could
    not take back what those before it showed follows no cursor of theirs, and one that did follows their last entry
    alone. No attempt begins with its end: where one seems to, its entries before the end were lost.
    """
    attempt, seq = entry.cursor
    if seq == 1 and entry.field is Field.END:
        return False
    if cursor == START:
        return entry.cursor == FIRST
    if attempt == cursor.attempt:
        return seq == cursor.seq + 1
    if attempt < cursor.attempt or seq != 1 or (entry.loses and cursor.attempt > 0):
        return False
    return entry.field is not Field.ATTEMPT_START or entry.follows(cursor)


def adjoins(cursor: Cursor, entry: Entry) -> bool:
    """Whether `entry` is sure to be the very next after `cursor`, the last one known.

    The start of a later attempt is not, because more of the attempt before it, or a whole one between the two, may be
    unknown. After what admission wrote the start of attempt 1 is, because that is known whole or not at all.
    """
    attempts = (cursor.attempt, entry.cursor.attempt)
    return cursor != START and continues(cursor, entry) and (attempts[0] == attempts[1] or attempts == (0, 1))


SHRUNK = 8
"""After a burst the tail is cut to an eighth of its limit."""
_ATTEMPT = 1 << 48
"""Larger than any seq."""


def _position(cursor: Cursor) -> int:
    return cursor.attempt * _ATTEMPT + cursor.seq


class Tail:
    """Holds all that came after `start`, up to `last`. Bounded in bytes: the oldest half is dropped beyond that, and
    more where it is asked to shrink.

    A subscriber is a cursor into it. One whose cursor is before `start` reads from Redis instead.
    """

    __slots__ = ("_frames", "_max_bytes", "_positions", "_size", "ended", "last", "lost_before", "start")

    def __init__(self, start: Cursor, max_bytes: int, *, ended: bool = False) -> None:
        self.start = start
        self.last = start
        self.ended = ended
        self.lost_before = 0
        """The attempt, if there is one, that could not take back what those before it showed."""
        self._max_bytes = max_bytes
        self._positions: list[int] = []
        """The cursors of the frames, each as one number, because the garbage collector passes over numbers."""
        self._frames: list[bytes] = []
        self._size = 0

    def extend(self, entries: Sequence[Entry]) -> bool:
        """Takes entries that follow `last`; False, with the rest not taken, where one does not."""
        for entry in entries:
            if not continues(self.last, entry):
                return False
            frame = encode(entry)
            self._positions.append(_position(entry.cursor))
            self._frames.append(frame)
            self._size += len(frame)
            self.last = entry.cursor
            self.ended = entry.field is Field.END
            if entry.loses:
                self.lost_before = entry.cursor.attempt
        if self._size > self._max_bytes:
            self._drop_older(self._max_bytes // 2)
        return True

    def shrink(self) -> None:
        """Keeps what a client may come back for after a moment. A client that takes longer reads from Redis."""
        if self._size > self._max_bytes // SHRUNK:
            self._drop_older(self._max_bytes // SHRUNK)

    def restart(self, start: Cursor, *, ended: bool) -> None:
        """Forgets everything: what comes next follows `start`."""
        self._positions.clear()
        self._frames.clear()
        self._size = 0
        self.start = self.last = start
        self.ended = ended
        self.lost_before = 0

    def is_lost_to(self, cursor: Cursor) -> bool:
        """Whether what follows does not continue what a client at the cursor was shown.

        The tail itself may have taken it: such a client has come with a cursor that was beyond `last` then. Where the
        cursor's entry has not come since, and later ones have, a failover has lost it.
        """
        return 0 < cursor.attempt < self.lost_before or (
            self.start < cursor < self.last and not self._holds(cursor)
        )

    def after(self, cursor: Cursor) -> Chunk | None:
        """All that follows the cursor, or None where that is nothing. The cursor is not before `start`."""
        index = bisect_right(self._positions, _position(cursor))
        if index == len(self._positions):
            return None
        return Chunk(b"".join(self._frames[index:]), self.last, self.ended)

    def _holds(self, cursor: Cursor) -> bool:
        position = _position(cursor)
        return self._positions[bisect_left(self._positions, position)] == position

    def _drop_older(self, max_bytes: int) -> None:
        dropped = 0
        while self._size > max_bytes:
            self._size -= len(self._frames[dropped])
            dropped += 1
        self.start = Cursor(*divmod(self._positions[dropped - 1], _ATTEMPT))
        del self._positions[:dropped]
        del self._frames[:dropped]
