"""What Redis knows of runs: which worker has one, until when, whether it has a job, what its journal has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from relaykit.shared.journal import entries
from relaykit.shared.queue.fair_order import HOLDERS
from relaykit.shared.queue.lease_token import process_of
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors

ASKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RunHolder:
    """Of a run that has been claimed and not ended."""

    worker_id: str
    """The process of its newest claim."""
    is_held: bool
    """Whether it has a lease. Without it the worker is lost, or has not come to renew it."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What Redis knows of a run's job."""

    place: RunHolder | None
    """Named as in the console's JSON."""
    lease_seconds: float | None
    """Until its lease ends, unless it is renewed."""
    due_seconds: float | None
    """Until the job is due; negative for how long it has been. None without a job, and for one that has no time, as in
    the fair order."""
    has_job: bool


class RunHolders:
    """Asks Redis. Everything raises QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._may_count_followers = True

    async def of(self, run_ids: Sequence[str]) -> Mapping[str, RunHolder]:
        """Of those of the runs that a worker has, or had when it was lost."""
        found: dict[str, RunHolder] = {}
        for first in range(0, len(run_ids), ASKED_AT_ONCE):
            asked = run_ids[first : first + ASKED_AT_ONCE]
            with redis_errors():
                async with self._redis.pipeline(transaction=False) as pipeline:
                    pipeline.mget(self._named.each(*map(keys.lease, asked)))
                    pipeline.hmget(self._holders, list(asked))
                    leases, holders = await pipeline.execute()
            for run_id, lease, holder in zip(asked, leases, holders, strict=True):
                held_by = _holder(lease, holder)
                if held_by is not None:
                    found[run_id] = held_by
        return found

    async def job(self, run_id: str) -> JobState:
        """All that is known of one."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.get(self._named(keys.lease(run_id)))
                pipeline.pttl(self._named(keys.lease(run_id)))
                pipeline.hget(self._holders, run_id)
                pipeline.zscore(self._named(keys.QUEUE), run_id)
                pipeline.time()
                lease, left_ms, holder, score, (seconds, microseconds) = await pipeline.execute()
        now_ms = (seconds * 1_000_000 + microseconds) / 1000
        has_time = score is not None and score >= 0 and math.isfinite(score)
        return JobState(
            place=_holder(lease, holder),
            lease_seconds=left_ms / 1000 if left_ms >= 0 else None,
            due_seconds=None if not has_time else round((score - now_ms) / 1000, 3),
            has_job=score is not None,
        )

    async def attempts(self, run_id: str, count: int) -> list[int | None]:
        """Of each attempt from 1 to `count` how many entries it has made; None where the journal has none of it.

        Raises JournalGone for what is no journal.
        """
        key = self._named(keys.journal(run_id))
        with redis_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for attempt in range(1, count + 1):
                    pipeline.xrevrange(key, f"({attempt + 1}-0", f"{attempt}-0", count=1)
                replies = await pipeline.execute()
        found = [entries(reply) for reply in replies]
        return [last[0].cursor.seq if last else None for last in found]

    async def followers(self, run_id: str) -> int | None:
        """How many processes of the API have a client that follows the run.

        None where Redis' user may not ask, which is no failure of Redis; then this process does not ask again.
        """
        if not self._may_count_followers:
            return None
        with redis_errors():
            try:
                [(_, count)] = await self._redis.pubsub_numsub(self._named(keys.notices(run_id)))
            except NoPermissionError:
                self._may_count_followers = False
                return None
        return int(count)

    @property
    def _holders(self) -> str:
        return self._named(keys.FAIR_PREFIX) + HOLDERS


def _holder(lease: Any, holder: Any) -> RunHolder | None:
    """A lease's token names its process before its last colon; a lapsed one's stands in the fair order's notes."""
    if lease is not None:
        return RunHolder(process_of(lease.decode(errors="replace")), is_held=True)
    return None if holder is None else RunHolder(holder.decode(errors="replace"), is_held=False)
