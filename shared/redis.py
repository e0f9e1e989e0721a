"""Connections to Redis: a fixed number a process, whatever the number of runs and clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import redis.asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.errors import QueueUnavailable

UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)
CONNECT_TIMEOUT_SECONDS = 2.0
REPLY_TIMEOUT_SECONDS = 5.0

Redis = redis_asyncio.Redis


@asynccontextmanager
async def open_redis(
    url: str, *, connections: int, reply_timeout_seconds: float | None = REPLY_TIMEOUT_SECONDS
) -> AsyncIterator[Redis]:
    """A client over at most `connections` connections; a call waits for a free one.

    `reply_timeout_seconds=None` is for connections that listen or block on purpose.
    """
    pool = redis_asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=REPLY_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=reply_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()


@contextmanager
def translated() -> Iterator[None]:
    """Turns every failure of the driver into QueueUnavailable."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailable() from error


def script(name: str) -> str:
    """The text of shared/lua/<name>.lua."""
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
