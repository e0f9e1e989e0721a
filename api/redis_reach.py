"""Whether this API reaches Redis, and, where it does not, whether another one does: for /readyz and the limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog

from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.check import RedisCheck

READY_SECONDS: Final = 0.7
"""How long Redis has to answer /readyz: less than the second that a balancer waits for the whole of it."""
RETRY_SECONDS: Final = 0.5
"""How long after a failure Redis is tried again."""
TRY_SECONDS: Final = 2.5
"""How long such a try may last: longer than a connection may take to open."""
FRESH: Final = timedelta(seconds=15)
"""How long it counts that another API has reached Redis: three times as long as it takes them to say so again."""

TELL: Final = """
INSERT INTO redis_reached (reached_at) VALUES (clock_timestamp())
ON CONFLICT (is_only) DO UPDATE SET reached_at = excluded.reached_at
"""
LOOK: Final = """
SELECT clock_timestamp() AS asked_at, (SELECT reached_at FROM redis_reached WHERE is_only) AS reached_at
"""

log = structlog.get_logger()


class RedisState:
    """Whether Redis is away, as the last call has found. A change is one line in the log."""

    def __init__(self) -> None:
        self._away = asyncio.Event()

    @property
    def is_away(self) -> bool:
        return self._away.is_set()

    async def wait_for_failure(self) -> None:
        """Returns at once while Redis is away."""
        await self._away.wait()

    def note(self, error: QueueUnavailable | None) -> None:
        """What a call of Redis has come to; None where it was answered."""
        if (error is not None) == self.is_away:
            return
        if error is not None:
            self._away.set()
            log.warning(
                "Redis does not answer, or takes no writes: threads can be read, and nothing is accepted",
                action="redis_away",
                **failure(error),
            )
        else:
            self._away.clear()
            log.warning("Redis takes writes again: everything is answered", action="redis_back")


class RedisReach:
    """Asks Redis for a write: for /readyz, and again and again while it is away."""

    def __init__(self, check: RedisCheck, database: Database, state: RedisState) -> None:
        self._check = check
        self._database = database
        self._state = state
        self._failed_at: datetime | None = None
        """When this process first found Redis away, by PostgreSQL's clock; None while it is not."""

    async def run(self) -> None:
        """Tries Redis again while it is away, until cancelled."""
        while True:
            await self._state.wait_for_failure()
            await asyncio.sleep(RETRY_SECONDS)
            if await self._ask(TRY_SECONDS) is not None and self._failed_at is None:
                with suppress(DatabaseUnavailable):  # the next try asks it
                    await self._look()

    async def check(self) -> bool:
        """True where Redis takes a write. False where no API reaches it, so that taking this one away helps nobody.

        Raises QueueUnavailable where another API reaches it, and DatabaseUnavailable where that cannot be found out.
        """
        error = await self._ask(READY_SECONDS)
        if error is None:
            return True
        if await self._look():
            raise error
        return False

    async def _look(self) -> bool:
        """Whether another API has reached Redis since this one first did not. Raises DatabaseUnavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(LOOK)
        assert row is not None
        asked_at, reached_at = row["asked_at"], row["reached_at"]
        if self._failed_at is None and self._state.is_away:
            self._failed_at = asked_at
        since = asked_at if self._failed_at is None else self._failed_at
        return reached_at is not None and bool(since < reached_at and asked_at - reached_at < FRESH)

    async def tell(self) -> None:
        """Tells APIs that do not reach Redis that this one does, as its /readyz has it. Raises DatabaseUnavailable.

        Other calls may take longer: for a Redis that is slow for all of them, all APIs would be taken away.
        """
        if await self._ask(READY_SECONDS) is not None:
            return
        async with self._database.connection() as connection:
            await connection.execute(TELL)

    async def _ask(self, seconds: float) -> QueueUnavailable | None:
        """Asks Redis for a write, with `seconds` for it; gives the error, or None."""
        error: QueueUnavailable | None = None
        try:
            async with asyncio.timeout(seconds):
                await self._check.renew()
        except QueueUnavailable as refused:
            error = refused
        except TimeoutError as late:
            error = QueueUnavailable()
            error.__cause__ = late
        self._state.note(error)
        if error is None:
            self._failed_at = None
        return error
