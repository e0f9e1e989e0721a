"""One client's place in a run, and what the clients of one run share in this process."""

from __future__ import annotations

import asyncio
import time

from api.sse import encode
from api.tail import Chunk, Tail, continues
from shared import keys
from shared.errors import JournalGone
from shared.journal import START, Cursor, Entry, Field, Journals

READ_ENTRIES = 1000
"""Entries in one read: bounds what a reply holds in memory."""
FIRST_READ_ENTRIES = 100
"""Of a client that is behind the tail, before it is known how large the run's entries are."""
READ_BYTES = 256 * 1024
"""About what such a client is given at once: it may take none of it, and there may be many."""


class Follow:
    """One run that somebody here follows."""

    __slots__ = (
        "acknowledged",
        "asked",
        "channel",
        "closing",
        "gone",
        "heard_at",
        "news",
        "nobody_since",
        "run_id",
        "subscribers",
        "tail",
        "unread",
    )

    def __init__(self, run_id: str, max_bytes: int) -> None:
        self.run_id = run_id
        self.channel = keys.notices(run_id).encode()
        self.tail = Tail(START, max_bytes)
        self.subscribers = 0
        self.asked = False
        self.acknowledged = asyncio.Event()
        self.news = asyncio.Event()
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

    def wake(self) -> None:
        """Wakes whoever waits for news; the next wait gets an event of its own."""
        news, self.news = self.news, asyncio.Event()
        news.set()


class Subscription:
    """One client's place in a run: a cursor, nothing more."""

    __slots__ = ("_follow", "_journals", "_left", "_read_entries", "cursor", "ended")

    def __init__(self, journals: Journals, follow: Follow, cursor: Cursor) -> None:
        self._journals = journals
        self._follow = follow
        self._left = False
        self._read_entries = FIRST_READ_ENTRIES
        self.cursor = cursor
        self.ended = False

    async def next(self, timeout_seconds: float) -> Chunk | None:
        """All that is ready after the cursor, else what comes first.

        None when nothing comes in time, the client has left or the stream is to close. Raises JournalGone where
        the journal has a hole after the cursor or is gone, QueueUnavailable where the client is behind the tail and
        Redis cannot be read.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    news = self._follow.news
                    chunk = await self._ready()
                    if chunk is not None:
                        self.cursor, self.ended = chunk.cursor, chunk.ended
                        return chunk
                    if self._follow.gone:
                        raise JournalGone
                    if self._follow.closing or self._left:
                        return None
                    await news.wait()
        except TimeoutError:
            return None

    def at_hand(self) -> bytes:
        """What is ready after the cursor and need not be read, if anything."""
        tail = self._follow.tail
        chunk = tail.after(self.cursor) if self.cursor >= tail.start else None
        if chunk is None:
            return b""
        self.cursor, self.ended = chunk.cursor, chunk.ended
        return chunk.data

    @property
    def closing(self) -> bool:
        """Whether the stream is to close: the process is about to stop, or no worker has the run."""
        return self._follow.closing

    def leave(self) -> None:
        """The client has left: whoever waits in `next` returns."""
        self._left = True
        self._follow.wake()

    async def _ready(self) -> Chunk | None:
        tail = self._follow.tail
        if self.cursor >= tail.start:
            return tail.after(self.cursor)
        found = await self._journals.read(self._follow.run_id, self.cursor, self._read_entries)
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
