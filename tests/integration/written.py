"""All that a request can have written: a fingerprint of every table and every Redis key."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import redis.asyncio

from relaykit.api.receipts import REPEAT_SECONDS
from relaykit.shared.redis import keys as redis_keys
from relaykit.shared.redis.keys import FAIR_PREFIX, QUEUE

PLACES = f"{FAIR_PREFIX}admitting"
"""Of requests that may become runs; what becomes none gives its place back a moment later."""

TABLES = (
    "threads",
    "items",
    "attachments",
    "attachment_threads",
    "attachment_garbage",
    "runs",
    "undo_items",
    "undo_thread_fields",
    "awaited_calls",
)

OF_WORKERS = (redis_keys.WORKERS_SEEN, redis_keys.worker_seen(""))
"""Keys in which workers say that they are there, whatever is asked."""
FOR_EVER = -1
"""A time to live. A key that has gone meanwhile has another negative one."""

ROW = """json_populate_record(t, '{"received_at": null}')::text"""
"""Of a row `t`: all but what is written a moment after the stream that it is about, for which no request waits."""


@dataclass(frozen=True)
class Written:
    rows: dict[str, tuple[int, str | None]]
    """Of each table: how many rows, and a hash of all that is in them."""
    keys: frozenset[str]
    queued: tuple[str, ...]


async def written(database_url: str, redis_url: str) -> Written:
    """What is there now, without what ends by itself in minutes, as the bell does, and so may end meanwhile."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = {}
        for table in TABLES:
            row = await connection.fetchrow(
                f"SELECT count(*), md5(string_agg({ROW}, '|' ORDER BY {ROW})) FROM {table} t"
            )
            rows[table] = (row[0], row[1])
    finally:
        await connection.close()
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        found = await client.keys("*")
        async with client.pipeline() as pipeline:
            for key in found:
                pipeline.ttl(key)
            lives = await pipeline.execute()
        keys = frozenset(
            key
            for key, life in zip(found, lives, strict=True)
            if (life == FOR_EVER or life > REPEAT_SECONDS) and not key.startswith(OF_WORKERS)
        )
        queued = tuple(await client.zrange(QUEUE, 0, -1))
    return Written(rows, keys, queued)
