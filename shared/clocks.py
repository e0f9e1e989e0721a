"""How far this process's clock is from those of Redis and PostgreSQL: a metric of each process, and a warning."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.metrics import CLOCK_OFFSET_SECONDS
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.client import Redis, redis_errors

LOOK_SECONDS = 30.0
"""How often each process compares its clock: once a call of Redis and one of PostgreSQL."""
WARN_SECONDS = 5.0
"""An offset above this is logged. It is half of what JWT_LEEWAY_SECONDS bears by default."""
WARN_EVERY_SECONDS = 600.0
"""How often it is logged, as long as it lasts."""
REDIS, POSTGRESQL = "redis", "postgresql"

NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::double precision"

log = structlog.get_logger()


def clock_offset(before: float, theirs: float, after: float) -> float:
    """By how many seconds our clock is ahead of theirs, which was read between two looks at ours; negative: behind.

    It is the least that explains the three times, so that a slow answer is no offset.
    """
    return max(0.0, before - theirs) or min(0.0, after - theirs)


class Clocks:
    """This process's clock beside those of the services, asked over `redis` and `database`."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._redis = redis
        self._database = database
        self._warned_at = -math.inf
        self.offsets: Mapping[str, float | None] = {REDIS: None, POSTGRESQL: None}
        """What was found last, in seconds; None where the service could not be asked. Any thread may read it."""

    async def run(self) -> None:
        """Compares every LOOK_SECONDS until cancelled; an outage is waited out."""
        while True:
            try:
                await self.look()
            except Exception as error:  # it only informs: nothing ends for it
                log.error(  # noqa: TRY400
                    "a defect in the look at the clocks: their offsets are missing, and it is tried again",
                    action="clock_look_failed",
                    **failure(error),
                )
                self._note({REDIS: None, POSTGRESQL: None})
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> Mapping[str, float | None]:
        """The offsets of now, which are also noted in the metric, and logged where they are large."""
        self._note({REDIS: await _known(self._to_redis), POSTGRESQL: await _known(self._to_postgresql)})
        self._warn()
        return self.offsets

    async def _to_redis(self) -> float:
        before = time.time()
        with redis_errors():
            seconds, microseconds = await self._redis.time()
        return clock_offset(before, seconds + microseconds / 1_000_000, time.time())

    async def _to_postgresql(self) -> float:
        async with self._database.connection() as connection:
            before = time.time()
            theirs = await connection.fetchval(NOW)
            return clock_offset(before, theirs, time.time())

    def _note(self, offsets: Mapping[str, float | None]) -> None:
        self.offsets = offsets
        for service, offset in offsets.items():
            CLOCK_OFFSET_SECONDS.labels(service).set(math.nan if offset is None else offset)

    def _warn(self) -> None:
        now = time.monotonic()
        is_off = any(abs(offset or 0) > WARN_SECONDS for offset in self.offsets.values())
        if not is_off or now - self._warned_at < WARN_EVERY_SECONDS:
            return
        self._warned_at = now
        log.warning(
            "this process's clock is not Redis' or PostgreSQL's: until it is set tokens may be refused, times be wrong",
            action="clocks_differ",
            **{
                f"ahead_of_{service}_seconds": None if offset is None else round(offset, 3)
                for service, offset in self.offsets.items()
            },
        )


async def _known(ask: Callable[[], Awaitable[float]]) -> float | None:
    try:
        return await ask()
    except (QueueUnavailable, DatabaseUnavailable) as error:
        log.debug(
            "a clock could not be asked: it is tried again",
            action="clock_unknown",
            **failure(error),
        )
        return None
