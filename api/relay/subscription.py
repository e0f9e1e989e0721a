"""What one client has of a run: a cursor into the tail that the clients of the run share, or behind it."""

from __future__ import annotations

from typing import Final

from relaykit.api.relay.followed_run import JOURNAL_LOST, FollowedRun
from relaykit.api.relay.sse import encode
from relaykit.api.relay.states import DeliveryState
from relaykit.api.relay.tail import Chunk, continues
from relaykit.shared.errors import JournalGone
from relaykit.shared.journal import Cursor, Entry, Field, JournalReader

READ_ENTRIES = 1000
"""Entries in one read, which bounds what a reply holds in memory."""
FIRST_READ_ENTRIES = 100
"""Entries in the first read of a client that is behind the tail, while the size of the run's entries is not known."""
READ_BYTES = 256 * 1024
"""About what such a client is given at once. The client may take none of it, and there may be many such clients."""

CLOSING: Final = DeliveryState.CLOSING


class Subscription:
    """What one client has of a run: a cursor, nothing more."""

    __slots__ = ("_journals", "_read_entries", "cursor", "ended", "followed")

    def __init__(self, journals: JournalReader, followed: FollowedRun, cursor: Cursor) -> None:
        self._journals = journals
        self.followed = followed
        self._read_entries = FIRST_READ_ENTRIES
        self.cursor = cursor
        self.ended = False
        """Whether the client has been given the end entry."""

    async def ready(self) -> Chunk | None:
        """All that is ready after the cursor; None, at once, where that is nothing.

        Raises JournalGone where the journal has a hole after the cursor or is gone, QueueUnavailable where the client
        is behind the tail and Redis cannot be read.
        """
        tail = self.followed.tail
        if tail.is_lost_to(self.cursor):
            raise JournalGone
        chunk = tail.after(self.cursor) if self.cursor >= tail.start else await self._read_journal()
        if chunk is not None:
            self.cursor, self.ended = chunk.cursor, chunk.ended
        elif self.followed.delivery is JOURNAL_LOST:
            raise JournalGone
        return chunk

    @property
    def is_in_tail(self) -> bool:
        """Whether what follows the cursor was heard of as it came: else it is older, and read from the journal."""
        return self.cursor >= self.followed.tail.start

    def at_hand(self) -> bytes:
        """What the tail has after the cursor, without a read of the journal; it may be nothing."""
        tail = self.followed.tail
        is_in_tail = self.cursor >= tail.start and not tail.is_lost_to(self.cursor)
        chunk = tail.after(self.cursor) if is_in_tail else None
        if chunk is None:
            return b""
        self.cursor, self.ended = chunk.cursor, chunk.ended
        return chunk.data

    @property
    def run_id(self) -> str:
        return self.followed.run_id

    @property
    def is_closing(self) -> bool:
        """Whether the stream is to close: the process is about to stop, or no worker has the run."""
        return self.followed.delivery is CLOSING

    async def _read_journal(self) -> Chunk | None:
        """What a client that is behind the tail is given next."""
        found = await self._journals.read(self.run_id, self.cursor, self._read_entries)
        if not found:
            raise JournalGone  # there was something between the cursor and the tail
        entry_bytes = max(1, sum(len(entry.payload) for entry in found) // len(found))
        self._read_entries = max(1, min(READ_ENTRIES, READ_BYTES // entry_bytes))
        return chunk_after(self.cursor, found)


def chunk_after(cursor: Cursor, found: list[Entry]) -> Chunk | None:
    """What was found, up to the first hole. Raises JournalGone where that is right after the cursor."""
    if not found:
        return None
    frames = []
    ended = False
    for entry in found:
        if not continues(cursor, entry):
            break
        cursor = entry.cursor
        frames.append(encode(entry))
        ended = entry.field is Field.END
    if not frames:
        raise JournalGone
    return Chunk(b"".join(frames), cursor, ended)
