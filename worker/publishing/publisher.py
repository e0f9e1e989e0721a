"""The publisher: from the events of this worker's runs to their journals, never in the model's way.

One loop flushes all runs that have news in one round trip. What comes in the meantime gathers and goes with the next.
Pieces of text wait a moment for those of the other runs. Every other event goes at once, and so does a piece before
which nothing was sent for a while. A flush that failed is sent again with the same ids, which the journal takes once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from redis.exceptions import NoScriptError, ResponseError

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal import Batch, Journals
from relaykit.shared.log import failure
from relaykit.shared.redis.client import Redis, redis_errors
from relaykit.shared.settings import Settings
from relaykit.worker.publishing.coalesce import Serialize
from relaykit.worker.publishing.journal_writer import JournalWriter

LINGER_SECONDS = 0.0025
"""The pause after a flush, for each run that was in it, while only more pieces of items that are shown already are
pending: a run that is alone hardly waits, and the pieces of many runs are joined meanwhile."""
MAX_LINGER_SECONDS = 0.05
"""The longest pause: text that comes twenty times a second still seems to flow."""
RETRY_SECONDS = 0.1

log = structlog.get_logger()


class Publisher:
    """Flushes the journals of one worker process. `run` must be running."""

    def __init__(self, redis: Redis, journals: Journals, settings: Settings) -> None:
        self._redis = redis
        self._journals = journals
        self._settings = settings
        self._dirty: dict[JournalWriter, None] = {}
        self._due = asyncio.Event()
        self._lingering: asyncio.TimerHandle | None = None
        self._lingers_until = 0.0
        """When the pause after the last flush ends, by the event loop's clock."""

    def open(self, run_id: str, attempt: int, serialize: Serialize) -> JournalWriter:
        return JournalWriter(self, run_id, attempt, serialize)

    def schedule(self, journal: JournalWriter, *, urgent: bool) -> None:
        """Has the journal flushed: now, or with the others a moment after the last flush."""
        self._dirty[journal] = None
        if urgent:
            self._due.set()
        elif self._lingering is None and not self._due.is_set():
            self._lingering = asyncio.get_running_loop().call_at(self._lingers_until, self._due.set)

    async def start_attempt(
        self, journal: JournalWriter, admission: Callable[[], Awaitable[Sequence[bytes]]]
    ) -> str:
        """Whether the journal took the attempt start: ok, fenced or ended."""
        run_id, attempt = journal.run_id, journal.attempt
        outcome, _ = await self._journals.start_attempt(run_id, attempt)
        while outcome == "empty":
            log.warning(
                "a journal was lost: its first entries are written again",
                action="journal_restored",
                run_id=run_id,
            )
            await self._journals.write_first_entries(run_id, await admission())
            outcome, _ = await self._journals.start_attempt(run_id, attempt)
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

    def _settle(self, journal: JournalWriter, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.warning(
                "entries of a run could not be written: they are tried again",
                action="publisher_append",
                run_id=journal.run_id,
                **failure(reply),
            )
            self.schedule(journal, urgent=True)
            return
        journal.on_reply(reply)
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
