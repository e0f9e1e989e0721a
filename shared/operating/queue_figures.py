"""The queue's figures: what is due, what runs, and who could take more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors

LAPSED_COUNTED = 1000
"""Of the runs whose lease has ended, and of another application's jobs, no more are read."""

UNFINISHED: Final = """
SELECT
    (SELECT count(*) FROM runs WHERE status = 'queued') AS queued,
    (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0) FROM runs WHERE status = 'queued') AS oldest_seconds,
    (SELECT count(*) FROM runs WHERE status = 'running') AS running,
    (SELECT count(*) FROM runs WHERE status = 'waiting') AS waiting
"""

# Of all runs that have not ended, whose number QUEUE_MAX_DEPTH and the slots bound.
BUSIEST: Final = """
SELECT tenant, owner,
    count(*) FILTER (WHERE status = 'queued') AS queued,
    count(*) FILTER (WHERE status = 'running') AS running,
    count(*) FILTER (WHERE status = 'waiting') AS waiting,
    coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE status = 'queued')), 0) AS oldest_seconds
FROM runs WHERE status = ANY ('{queued,running,waiting}')
GROUP BY tenant, owner ORDER BY count(*) DESC, tenant, owner LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Of the whole deployment, as it was a few seconds ago."""

    due: int
    """Runs that a free worker would take now: queued ones, and those whose lease has ended."""
    oldest_due_seconds: float
    """For how long the oldest of them has been due."""
    waiting: int
    """Runs that wait behind another of their thread."""
    running: int
    """Runs whose row says that they are executed; it also does after their worker has died."""
    workers: int
    draining: int
    """Of the workers, those that claim nothing more."""
    slots: int
    """Of the workers that are not draining."""
    used: int

    @property
    def claiming(self) -> int:
        """Workers that take runs."""
        return self.workers - self.draining


@dataclass(frozen=True, slots=True)
class CallerLoad:
    """A caller's runs that have not ended."""

    owner: Owner
    queued: int
    running: int
    waiting: int
    oldest_due_seconds: float
    """Of the queued ones."""


class QueueFigures:
    """Asks for them. Raises QueueUnavailable, DatabaseUnavailable."""

    def __init__(self, redis: Redis, database: Database, registry: WorkerRegistry) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._database = database
        self._registry = registry

    async def ask(self) -> QueueState:
        """Five calls of Redis and one statement, whatever the number of runs and workers."""
        workers = await self._registry.workers()
        claiming = [worker for worker in workers if not worker.draining]
        with redis_errors():
            seconds, microseconds = await self._redis.time()
            now_ms = int((seconds * 1_000_000 + microseconds) / 1000)
            queue = self._named(keys.QUEUE)
            in_order = await self._redis.zcount(queue, "-inf", "(0")
            by_time = await self._redis.zrange(
                queue, 0, now_ms, byscore=True, offset=0, num=LAPSED_COUNTED, withscores=True
            )
        # with another application's on the queue, the first of ours
        lapsed = [score for job, score in by_time if job.startswith(keys.RUN_PREFIX.encode())]
        lapsed_seconds = max(0.0, (now_ms - lapsed[0]) / 1000) if lapsed else 0.0
        async with self._database.connection() as connection:
            rows = await connection.fetchrow(UNFINISHED)
        assert rows is not None
        return QueueState(
            # a Redis that was emptied has no job for rows that are queued
            due=max(in_order + len(lapsed), rows["queued"]),
            oldest_due_seconds=round(max(lapsed_seconds, float(rows["oldest_seconds"])), 3),
            waiting=rows["waiting"],
            running=rows["running"],
            workers=len(workers),
            draining=len(workers) - len(claiming),
            slots=sum(worker.slots for worker in claiming),
            used=sum(worker.used for worker in workers),
        )

    async def busiest(self, limit: int) -> Sequence[CallerLoad]:
        """The callers with the most runs that have not ended, those with more in front."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(BUSIEST, limit)
        return [
            CallerLoad(
                owner=Owner(tenant=row["tenant"], user_id=row["owner"]),
                queued=row["queued"],
                running=row["running"],
                waiting=row["waiting"],
                oldest_due_seconds=round(float(row["oldest_seconds"]), 3),
            )
            for row in rows
        ]
