"""The publisher: from the events of this worker's runs to their journals, never in the model's way.

One loop flushes all runs that have news in one round trip. What comes in the meantime gathers and goes with the next.
Pieces of text wait a moment for those of the other runs; whatever a client waits for goes at once, and so does a piece
that nothing was sent shortly before. A flush that failed is sent again with the same ids, which the journal takes once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from chatkit.types import ThreadItemUpdatedEvent, ThreadStreamEvent
from redis.exceptions import NoScriptError, ResponseError

from relaykit.shared.errors import Fenced, QueueUnavailable
from relaykit.shared.journal import Batch, Cursor, Field, Journals, decode_append_reply
from relaykit.shared.log import failure
from relaykit.shared.redis.client import Redis, redis_errors
from relaykit.shared.settings import Settings
from relaykit.worker.publishing.coalesce import Pending, Serialize

MAX_PENDING = 512
"""Entries of one run that wait, beyond which its agent is held."""
MAX_PENDING_BYTES = 1024 * 1024
LINGER_SECONDS = 0.0025
"""From one flush to the next, for each run that was in it, where that brings nothing but more pieces of items that are
shown already: a run that speaks alone does not wait, and many wait together, whose pieces are joined meanwhile."""
MAX_LINGER_SECONDS = 0.05
"""Twenty times a second text still seems to flow."""
RETRY_SECONDS = 0.1

log = structlog.get_logger()


class RunJournal:
    """One attempt's end of the journal: puts at once, flushes later."""

    def __init__(self, publisher: Publisher, run_id: str, attempt: int, serialize: Serialize) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.marked = False
        """Whether `mark` was called."""
        self.refused: asyncio.Future[Fenced] = asyncio.get_running_loop().create_future()
        """Done when the journal takes no more from this attempt."""
        self._publisher = publisher
        self._pending = Pending(serialize)
        self._is_urgent = False
        """Whether something is pending that should not linger."""
        self._shows = False
        """Whether a piece of an item has been sent: the first one of an attempt does not linger."""
        self._others: list[tuple[Field, bytes]] = []
        self._in_flight: Batch | None = None
        self._next_seq = 1
        self._kept: deque[tuple[int, int, int]] = deque()
        self._kept_entries = 0
        self._kept_bytes = 0
        self._moved = asyncio.Event()

    def put(self, event: ThreadStreamEvent) -> None:
        """Takes an event. Never waits."""
        self._pending.put(event)
        is_piece = isinstance(event, ThreadItemUpdatedEvent)
        if not (is_piece and self._shows) or self._is_filling():
            self._is_urgent = True
        self._shows = self._shows or is_piece
        self._publisher.schedule(self, urgent=self._is_urgent)

    def _is_filling(self) -> bool:
        return len(self._pending) > MAX_PENDING // 2 or self._pending.size > MAX_PENDING_BYTES // 2

    @property
    def has_room(self) -> bool:
        """Whether no more is pending than may be."""
        return len(self._pending) <= MAX_PENDING and self._pending.size <= MAX_PENDING_BYTES

    async def room(self) -> None:
        """Waits while more is pending than may be. Raises Fenced."""
        while not self.has_room:
            await self._progress()

    async def mark(self, admission: Callable[[], Awaitable[Sequence[bytes]]]) -> None:
        """Begins the attempt in the journal: from then on the one before can write no more.

        Where the journal is gone, what `admission` gives is written before it. Once; safe to repeat after a failure.
        Raises Fenced, QueueUnavailable.
        """
        if not self.marked:
            self._take_mark(await self._publisher.mark(self, admission))

    def _take_mark(self, outcome: str) -> None:
        if outcome != "ok":
            self.close()
            raise Fenced
        self.marked = True
        self._next_seq = 2

    async def flush(self) -> None:
        """Waits until everything put is in the journal. Raises Fenced."""
        while self._in_flight is not None or self._pending or self._others:
            self._is_urgent = True
            self._publisher.schedule(self, urgent=True)
            await self._progress()
        if self.refused.done():
            raise self.refused.result()

    def end(self, status: str) -> None:
        """Puts the end entry, which must be the last."""
        self._others = [*self._drained(), (Field.END, status.encode())]
        self._is_urgent = True
        self._publisher.schedule(self, urgent=True)

    async def _progress(self) -> None:
        if self.refused.done():
            raise self.refused.result()
        await self._moved.wait()

    def _drained(self) -> list[tuple[Field, bytes]]:
        entries = self._others + [(Field.EVENT, payload) for payload in self._pending.take()]
        self._others = []
        self._is_urgent = False
        return entries

    @property
    def waits(self) -> bool:
        """Whether something is pending, and nothing in flight."""
        return self._in_flight is None and bool(self._pending or self._others)

    @property
    def is_urgent(self) -> bool:
        return self._is_urgent

    def next_batch(self, settings: Settings) -> Batch | None:
        """The batch to send: the one in flight again, else what is pending, if anything."""
        if self.refused.done():
            return None
        if self._in_flight is not None:
            return self._in_flight
        entries = self._drained()
        if not entries:
            return None
        self._in_flight = Batch(
            run_id=self.run_id,
            attempt=self.attempt,
            first_seq=self._next_seq,
            entries=entries,
            oldest_kept=self._oldest_kept(entries, settings),
        )
        self._next_seq += len(entries)
        return self._in_flight

    def took(self, reply: Any) -> None:
        """Hears what became of the batch in flight."""
        outcome, _ = decode_append_reply(reply)
        self._in_flight = None
        if outcome == "ok":
            self._wake()
        else:
            self.close()

    def close(self) -> None:
        """Sends nothing more: the journal is another attempt's."""
        if not self.refused.done():
            self.refused.set_result(Fenced())
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _oldest_kept(self, entries: list[tuple[Field, bytes]], settings: Settings) -> Cursor | None:
        size = sum(len(payload) for _, payload in entries)
        self._kept.append((self._next_seq, len(entries), size))
        self._kept_entries += len(entries)
        self._kept_bytes += size
        oldest = None
        while len(self._kept) > 1 and (
            self._kept_entries > settings.journal_max_entries or self._kept_bytes > settings.journal_max_bytes
        ):
            _, count, dropped = self._kept.popleft()
            self._kept_entries -= count
            self._kept_bytes -= dropped
            oldest = Cursor(self.attempt, self._kept[0][0])
        return oldest


class Publisher:
    """Flushes the journals of one worker process. `run` must be running."""

    def __init__(self, redis: Redis, journals: Journals, settings: Settings) -> None:
        self._redis = redis
        self._journals = journals
        self._settings = settings
        self._dirty: dict[RunJournal, None] = {}
        self._due = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
        self._lingers_until = 0.0
        """By the event loop's clock."""

    def open(self, run_id: str, attempt: int, serialize: Serialize) -> RunJournal:
        return RunJournal(self, run_id, attempt, serialize)

    def schedule(self, journal: RunJournal, *, urgent: bool) -> None:
        """Has the journal flushed: now, or with the others a moment after the last flush."""
        self._dirty[journal] = None
        if urgent:
            self._due.set()
        elif self._lingering is None and not self._due.is_set():
            self._lingering = asyncio.get_running_loop().call_at(self._lingers_until, self._due.set)

    async def mark(self, journal: RunJournal, admission: Callable[[], Awaitable[Sequence[bytes]]]) -> str:
        """Whether the journal took the mark: ok, fenced or ended."""
        run_id, attempt = journal.run_id, journal.attempt
        outcome, _ = await self._journals.mark(run_id, attempt)
        while outcome == "empty":
            log.warning(
                "a journal was lost: its first entries are written again",
                action="journal_restored",
                run_id=run_id,
            )
            await self._journals.write_first_entries(run_id, await admission())
            outcome, _ = await self._journals.mark(run_id, attempt)
        return outcome

    async def run(self) -> None:
        """Flushes until cancelled; an outage of Redis is waited out."""
        while True:
            await self._due.wait()
            self._due.clear()
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
            journals, self._dirty = list(self._dirty), {}
            batches = [
                (journal, batch)
                for journal in journals
                if (batch := journal.next_batch(self._settings)) is not None
            ]
            if not batches:
                continue
            linger_seconds = min(LINGER_SECONDS * len(batches), MAX_LINGER_SECONDS)
            self._lingers_until = asyncio.get_running_loop().time() + linger_seconds
            try:
                replies = await self._send([batch for _, batch in batches])
            except QueueUnavailable as error:
                log.warning(
                    "entries could not be written because Redis is away: they are tried again",
                    action="publisher_retry",
                    runs=len(batches),
                    **failure(error),
                )
                for journal, _ in batches:
                    self.schedule(journal, urgent=True)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for (journal, _), reply in zip(batches, replies, strict=True):
                self._settle(journal, reply)

    def _settle(self, journal: RunJournal, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.warning(
                "entries of a run could not be written: they are tried again",
                action="publisher_append",
                run_id=journal.run_id,
                **failure(reply),
            )
            self.schedule(journal, urgent=True)
            return
        journal.took(reply)
        if journal.waits:  # what came while the batch was in flight
            self.schedule(journal, urgent=journal.is_urgent)

    async def _send(self, batches: list[Batch]) -> list[Any]:
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for batch in batches:
                    self._journals.pipe_append(batch, pipeline)
                replies = list(await pipeline.execute(raise_on_error=False))
            if any(isinstance(reply, NoScriptError) for reply in replies):
                await self._journals.load_scripts()
            for reply in replies:
                if isinstance(reply, ResponseError) and not isinstance(reply, NoScriptError):
                    await asyncio.sleep(RETRY_SECONDS)
                    break
            return replies
