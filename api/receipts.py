"""What clients have had of runs whose requests came without a key, so that a request that comes again is understood.

The same body is a repetition only of a run that no client has had anything of, and a reconnect only to one that its
client has not had all of. Redis is told at once. It can be emptied, so that the row keeps the first of the two: it is
written a moment later, for many runs together, apart from the time to their first event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.journal import FIRST
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors

REPEAT_SECONDS = 300
"""How long the same body, sent again without a key, may be a repetition. The stock widget repeats within seconds."""
WRITE_SECONDS = 0.25
RETRY_SECONDS = 5.0
MAX_UNWRITTEN = 10_000
"""This many receipts are kept while PostgreSQL is away; beyond, the oldest are given up."""
MAX_SKIPS = 20
"""A run whose row was locked at this many writes, or that has been deleted, is given up."""

NOTE_RECEIVED: Final = """
WITH free AS (
    SELECT id, received_at FROM runs WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED
), noted AS (
    UPDATE runs SET received_at = now() FROM free WHERE runs.id = free.id AND free.received_at IS NULL
)
SELECT id FROM free
"""

log = structlog.get_logger()


class Receipts:
    """Those that one API process notes, and what any has noted. `run` must be running."""

    def __init__(self, redis: Redis, database: Database, ended_seconds: float) -> None:
        """`ended_seconds` is how long the journal of an ended run is kept."""
        self._redis = redis
        self._named = names_of(redis)
        self._database = database
        self._ended_ms = int(ended_seconds * 1000)
        self._skips: dict[str, int] = {}
        """How often the row was locked, for each run that is not noted in its row yet."""
        self._has_unwritten = asyncio.Event()

    async def note_received(self, run_id: str) -> None:
        """A client had something of the run. Raises QueueUnavailable; the row is written all the same."""
        if len(self._skips) >= MAX_UNWRITTEN:
            del self._skips[next(iter(self._skips))]
        self._skips[run_id] = 0
        self._has_unwritten.set()
        with redis_errors():
            await self._redis.set(self._named(keys.received(run_id)), "1", ex=REPEAT_SECONDS)

    async def note_delivered(self, run_id: str) -> None:
        """A client that had asked for the run by a POST had all of it. Raises QueueUnavailable."""
        with redis_errors():
            await self._redis.set(self._named(keys.delivered(run_id)), "1", px=self._ended_ms)

    async def was_received(self, run_id: str) -> tuple[bool, bool]:
        """Whether a client had something of the run, and whether its journal has its beginning, by what Redis knows.

        Raises QueueUnavailable.
        """
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.exists(self._named(keys.received(run_id)))
                pipeline.xrange(self._named(keys.journal(run_id)), str(FIRST), str(FIRST))
                received, first = await pipeline.execute()
        return bool(received), bool(first)

    async def delivered(self, run_ids: Sequence[str]) -> set[str]:
        """Those of the runs that a client who posted has had all of. Raises QueueUnavailable."""
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for run_id in run_ids:
                    pipeline.exists(self._named(keys.delivered(run_id)))
                replies = await pipeline.execute()
        return {run_id for run_id, reply in zip(run_ids, replies, strict=True) if reply}

    async def run(self) -> None:
        """Writes until cancelled; an outage of PostgreSQL is waited out."""
        while True:
            await self._has_unwritten.wait()
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write()
            except DatabaseUnavailable as error:
                log.warning(
                    "receipts could not be written to PostgreSQL: they are tried again",
                    action="receipts_retry",
                    **failure(error),
                )
                await asyncio.sleep(RETRY_SECONDS)

    async def write(self) -> None:
        """Writes all that is noted into the rows. Raises DatabaseUnavailable."""
        asked = list(self._skips)
        written = await self._note_in_rows(asked) if asked else set()
        for run_id in asked:
            skips = self._skips.pop(run_id, MAX_SKIPS) + 1
            if run_id not in written and skips < MAX_SKIPS:
                self._skips[run_id] = skips
        if not self._skips:
            self._has_unwritten.clear()

    async def _note_in_rows(self, run_ids: Sequence[str]) -> set[str]:
        """Those of the runs whose rows now say that a client has had something of them.

        A row that another transaction has locked is passed over: this one waits for none, and so none for this one.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(NOTE_RECEIVED, run_ids)
        return {row["id"] for row in rows}


class Receipt:
    """What one stream notes of its run. The stream does not wait for Redis; one note is written after the other."""

    __slots__ = ("_is_received", "_receipts", "_run_id", "_writing", "is_of_post")

    def __init__(self, receipts: Receipts, run_id: str, *, is_of_post: bool) -> None:
        self._receipts, self._run_id = receipts, run_id
        self.is_of_post = is_of_post
        """Whether the client asked by a POST: such a client reconnects by its POST, if it does."""
        self._is_received = False
        self._writing: asyncio.Task[None] | None = None

    def note_received(self) -> None:
        """Notes that the client was sent something, the first time that it is."""
        if not self._is_received:
            self._is_received = True
            self._start(self._receipts.note_received)

    def note_delivered(self) -> None:
        """Notes that the client was sent everything, where it asked by a POST."""
        if self.is_of_post:
            self._start(self._receipts.note_delivered)

    async def written(self) -> None:
        """Waits until all that was noted is written, or could not be."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def _start(self, write: Callable[[str], Awaitable[None]]) -> None:
        self._writing = asyncio.create_task(self._write(write, self._writing))

    async def _write(
        self, write: Callable[[str], Awaitable[None]], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await write(self._run_id)
        except QueueUnavailable as error:
            log.info(
                "a receipt was not written to Redis",
                action="relay_unnoted",
                run_id=self._run_id,
                code=error.code,
            )
        if self._writing is asyncio.current_task():
            self._writing = None
