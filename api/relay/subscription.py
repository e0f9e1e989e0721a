"""One client's place in a run, and what the clients of one run share in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relaykit.api.relay.sse import encode
from relaykit.api.relay.tail import Chunk, Tail, continues
from relaykit.shared.errors import JournalGone
from relaykit.shared.journal import START, Cursor, Entry, Field, JournalReader

READ_ENTRIES = 1000
"""Entries in one read: bounds what a reply holds in memory."""
FIRST_READ_ENTRIES = 100
"""Of a client that is behind the tail, before it is known how large the run's entries are."""
READ_BYTES = 256 * 1024
"""About what such a client is given at once: it may take none of it, and there may be many."""


class Follow:
    """One run that clients of this process follow."""

    __slots__ = (
        "_acknowledgement",
        "_listeners",
        "acknowledged",
        "asked",
        "channel",
        "closing",
        "gone",
        "heard_at",
        "nobody_since",
        "run_id",
        "subscribers",
        "tail",
        "unread",
    )

    def __init__(self, run_id: str, channel: bytes, max_bytes: int) -> None:
        self.run_id = run_id
        self.channel = channel
        self.tail = Tail(START, max_bytes)
        self.subscribers = 0
        self.asked = False
        self.acknowledged = False
        """Whether all notices from now on are sure to come."""
        self._acknowledgement: asyncio.Event | None = None
        """Made only where a subscriber waits for it, because an event is larger than all the other fields together."""
        self._listeners: list[Callable[[], None]] = []
        self.heard_at = time.monotonic()
        """When there was news, or a look that found everything in order."""
        self.nobody_since: float | None = None
        """Since when no worker has had the run, though it is running."""
        self.unread = False
        """Whether the journal has to be read once notices of it are sure to come."""
        self.gone = False
        """Whether what subscribers wait for was lost."""
        self.closing = False
        """Whether its streams close, without the end: their clients resume."""

    def lose(self) -> None:
        """What its subscribers wait for will not come: they are told so."""
        self.gone = True
        self.wake()

    def close(self) -> None:
        """Closes its streams, without the end."""
        self.closing = True
        self.wake()

    def acknowledge(self) -> None:
        self.acknowledged = True
        if self._acknowledgement is not None:
            self._acknowledgement.set()
            self._acknowledgement = None

    async def acknowledgement(self) -> None:
        """Waits until it is acknowledged."""
        if not self.acknowledged:
            if self._acknowledgement is None:
                self._acknowledgement = asyncio.Event()
            await self._acknowledgement.wait()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls the listener whenever there is news, or its end; it does not call back."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def wake(self) -> None:
        for listener in self._listeners:
            listener()


class Subscription:
    """One client's place in a run: a cursor, nothing more."""

    __slots__ = ("_journals", "_read_entries", "cursor", "ended", "follow")

    def __init__(self, journals: JournalReader, follow: Follow, cursor: Cursor) -> None:
        self._journals = journals
        self.follow = follow
        self._read_entries = FIRST_READ_ENTRIES
        self.cursor = cursor
        self.ended = False

    async def ready(self) -> Chunk | None:
        """All that is ready after the cursor; None, at once, where that is nothing.

        Raises JournalGone where the journal has a hole after the cursor or is gone, QueueUnavailable where the client
        is behind the tail and Redis cannot be read.
        """
        chunk = await self._read()
        if chunk is not None:
            self.cursor, self.ended = chunk.cursor, chunk.ended
        elif self.follow.gone:
            raise JournalGone
        return chunk

    def at_hand(self) -> bytes:
        """What is ready after the cursor and need not be read, if anything."""
        tail = self.follow.tail
        chunk = tail.after(self.cursor) if self.cursor >= tail.start else None
        if chunk is None:
            return b""
        self.cursor, self.ended = chunk.cursor, chunk.ended
        return chunk.data

    @property
    def run_id(self) -> str:
        return self.follow.run_id

    @property
    def closing(self) -> bool:
        """Whether the stream is to close: the process is about to stop, or no worker has the run."""
        return self.follow.closing

    async def _read(self) -> Chunk | None:
        tail = self.follow.tail
        if self.cursor >= tail.start:
            return tail.after(self.cursor)
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
