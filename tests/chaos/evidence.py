"""Reads what is left in PostgreSQL and Redis when everything is over, and looks for what should not be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
from redis.asyncio import Redis

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal import START, Entry, JournalReader
from relaykit.shared.redis import keys
from relaykit.shared.runs.run import ENDED
from tests.chaos import checks
from tests.chaos.fold import Item
from tests.chaos.record import Journal, Loss, RunRow, Turn
from tests.chaos.stage import PRODUCT, Stage
from tests.support.services.databases import KEYS_WITHOUT_TTL

HIDDEN = frozenset({"hidden_context_item", "sdk_hidden_context"})
PAGE = 1000
ARCHIVE_SECONDS = 0.2
IDLE_SECONDS = 5
"""A transaction in which nothing is asked for so long has been forgotten."""

RUNS = """
SELECT id, idempotency_key AS key, thread_id, status, attempt, handed_back, error,
    queued_at, started_at, ended_at
FROM runs ORDER BY seq
"""

FORGOTTEN = """
SELECT pid FROM pg_stat_activity
WHERE application_name = $1 AND state LIKE 'idle in transaction%'
    AND state_change < now() - $2 * interval '1 second'
"""


async def run_rows(database: asyncpg.Connection) -> list[RunRow]:
    return [RunRow(**dict(row)) for row in await database.fetch(RUNS)]


async def unfinished(database: asyncpg.Connection) -> list[str]:
    """Runs that have not ended, as a wait wants to name them."""
    rows = await database.fetch(
        "SELECT id, status, attempt FROM runs WHERE status <> ALL ($1) ORDER BY seq",
        [status.value for status in ENDED],
    )
    return [f"{row['id']} ({row['status']}, attempt {row['attempt']})" for row in rows]


async def items(database: asyncpg.Connection) -> dict[str, list[Item]]:
    """Of each thread in its order, without what no client is shown."""
    found: dict[str, list[Item]] = {}
    for row in await database.fetch("SELECT thread_id, data FROM items ORDER BY thread_id, seq"):
        item = json.loads(row["data"])
        if item["type"] not in HIDDEN:
            found.setdefault(row["thread_id"], []).append(item)
    return found


async def threads(database: asyncpg.Connection) -> dict[str, dict[str, Any]]:
    rows = await database.fetch("SELECT id, data FROM threads")
    return {row["id"]: json.loads(row["data"]) for row in rows}


class Archive:
    """The journals of the runs whose clients are done, each read as soon as that is so: a later fault may lose it."""

    def __init__(self) -> None:
        self.journals: dict[str, Journal] = {}

    async def keep(self, stage: Stage, turns: Callable[[], Iterable[Turn]]) -> None:
        """Reads on until cancelled; while Redis is away it waits."""
        while True:
            done = [turn.run_id for turn in turns() if turn.end is not None and turn.run_id is not None]
            with suppress(QueueUnavailable):
                async with stage.redis_client() as redis:
                    await self.add(redis, done)
            await asyncio.sleep(ARCHIVE_SECONDS)

    async def add(self, redis: Redis, run_ids: Iterable[str]) -> None:
        """Reads the journals that are not there yet. Raises QueueUnavailable."""
        reader = JournalReader(redis)
        for run_id in run_ids:
            if run_id in self.journals:
                continue
            entries: list[Entry] = []
            while page := await reader.read(run_id, entries[-1].cursor if entries else START, PAGE):
                entries += page
            self.journals[run_id] = Journal(entries, datetime.now(UTC))


async def at_work(redis: Redis) -> list[str]:
    """Jobs that are queued, and leases that are held."""
    queued = [f"queued: {job.decode()}" for job in await redis.zrange(keys.QUEUE, 0, -1)]
    leases = [key.decode() async for key in redis.scan_iter(match=f"{keys.LEASE_PREFIX}*", count=PAGE)]
    return queued + [f"lease: {key}" for key in leases]


async def endless_keys(redis: Redis) -> list[Loss]:
    """Keys that would stay for ever."""
    found = [key.decode() async for key in redis.scan_iter(count=PAGE)]
    return [
        Loss(checks.LEFT_OVER, key, "a Redis key without a time to live")
        for key in found
        if key not in KEYS_WITHOUT_TTL and await redis.ttl(key) == -1
    ]


async def forgotten_transactions(database: asyncpg.Connection) -> list[Loss]:
    rows = await database.fetch(FORGOTTEN, PRODUCT, IDLE_SECONDS)
    return [Loss(checks.LEFT_OVER, f"session {row['pid']}", "idle in a transaction") for row in rows]


async def sessions_left(database: asyncpg.Connection) -> list[Loss]:
    """The product's connections to PostgreSQL, when its processes have ended."""
    pids = await database.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = $1", PRODUCT)
    return [Loss(checks.LEFT_OVER, f"session {row['pid']}", "outlives its process") for row in pids]
