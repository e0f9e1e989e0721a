"""Takes the entries out of journals before their time to live is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from redis.exceptions import BusyLoadingError, OutOfMemoryError, ReadOnlyError, ResponseError

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal.journals import Cursor, Field
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.runs.run import Status

SEAL_TTL_SECONDS: Final = 20
"""Longer than a worker takes to send a batch again, once Redis is back."""

SEAL: Final = Cursor(999_999_999, 1)
"""Of an attempt after every other: append.lua appends nothing to a journal that a later attempt has written."""


OF_ALL: Final = (BusyLoadingError, OutOfMemoryError, ReadOnlyError)
"""What Redis refuses one journal for, it refuses all for."""


class Erased(NamedTuple):
    """What erasing some journals came to."""

    journals: int
    """How many there were."""
    left: Sequence[str]
    """The runs whose journals Redis did not erase."""


class JournalEraser:
    """Erases the journals of runs that have ended, with all that their clients and servers wrote."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)

    async def held(self, run_ids: Sequence[str]) -> list[str]:
        """Those of the runs that a worker holds: it may still write. Raises QueueUnavailable."""
        if not run_ids:
            return []
        with redis_errors():
            leases = await self._redis.mget([self._named(keys.lease(run_id)) for run_id in run_ids])
        return [run_id for run_id, lease in zip(run_ids, leases, strict=True) if lease is not None]

    async def erase(self, run_ids: Sequence[str]) -> Erased:
        """Erases the runs' journals. Safe to repeat. Raises QueueUnavailable where Redis is away, or takes no writes.

        A seal stands in place of each for SEAL_TTL_SECONDS: a worker that sends its last batch late, because Redis
        was away, would make the journal anew.
        """
        if not run_ids:
            return Erased(0, [])
        try:
            return Erased(await self._erase(run_ids), [])
        except QueueUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, ResponseError) or isinstance(cause, OF_ALL):
                raise
        if len(run_ids) == 1:
            return Erased(0, run_ids)
        alone = [await self.erase([run_id]) for run_id in run_ids]  # Redis refuses all where it refuses one
        return Erased(sum(one.journals for one in alone), [run_id for one in alone for run_id in one.left])

    async def _erase(self, run_ids: Sequence[str]) -> int:
        names = [self._named(keys.journal(run_id)) for run_id in run_ids]
        times_names = [self._named(keys.entry_times(run_id)) for run_id in run_ids]
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                for name, times in zip(names, times_names, strict=True):
                    pipeline.xrange(name, count=1)
                    pipeline.delete(name, times)
                    pipeline.xadd(name, {Field.END.value: Status.CANCELLED.value}, id=str(SEAL))
                    pipeline.expire(name, SEAL_TTL_SECONDS)
                replies = await pipeline.execute()
        return sum(1 for first in replies[::4] if first and first[0][0] != str(SEAL).encode())
