"""Notes of which runs a client has had something: in Redis at once, in their rows a moment later.

The same body without a key is a repetition only of a run that no client has had anything of. Redis can be emptied, and
then only the row knows. It is written for many runs together, apart from the time to their first event.
"""

from __future__ import annotations

import asyncio

import structlog

from shared.errors import DatabaseUnavailable
from shared.log import failure
from shared.queue import Queue
from shared.run_rows import Runs

WRITE_SECONDS = 0.25
RETRY_SECONDS = 5.0
MAX_UNWRITTEN = 10_000
"""While PostgreSQL is away; the oldest are given up."""
MAX_SKIPS = 20
"""After which a run is given up that is locked each time, or that has been deleted."""

log = structlog.get_logger()


class Receipts:
    """Those of one API process. `run` must be running."""

    def __init__(self, queue: Queue, runs: Runs) -> None:
        self._queue = queue
        self._runs = runs
        self._skips: dict[str, int] = {}
        """Of each run that is not in its row yet: how often its row was locked."""
        self._has_unwritten = asyncio.Event()

    async def note(self, run_id: str) -> None:
        """Raises QueueUnavailable; the row is written all the same."""
        if len(self._skips) >= MAX_UNWRITTEN:
            del self._skips[next(iter(self._skips))]
        self._skips[run_id] = 0
        self._has_unwritten.set()
        await self._queue.note_received(run_id)

    async def run(self) -> None:
        """Writes until cancelled; an outage of PostgreSQL is waited out."""
        while True:
            await self._has_unwritten.wait()
            await asyncio.sleep(WRITE_SECONDS)
            try:
                await self.write()
            except DatabaseUnavailable as error:
                log.warning("receipts written later", action="receipts_retry", **failure(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def write(self) -> None:
        """Writes all that is noted. Raises DatabaseUnavailable."""
        asked = list(self._skips)
        written = await self._runs.note_received(asked) if asked else set()
        for run_id in asked:
            skips = self._skips.pop(run_id, MAX_SKIPS) + 1
            if run_id not in written and skips < MAX_SKIPS:
                self._skips[run_id] = skips
        if not self._skips:
            self._has_unwritten.clear()
