"""A connection to Redis that was reset while nobody read it is an outage, under the processes' event loop too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import redis.asyncio as redis_asyncio
import uvloop
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.redis.client import FairPool, Redis, open_redis, redis_errors
from relaykit.shared.redis.pubsub import subscribed
from relaykit.shared.redis_url import parse_redis_url
from tests.support.network.links import Link
from tests.support.system import wait_until

Use = Callable[[Redis, Callable[[AbstractConnection], Awaitable[None]]], Awaitable[None]]


async def _send_a_command(redis: Redis, reset: Callable[[AbstractConnection], Awaitable[None]]) -> None:
    connection = await redis.connection_pool.get_connection()
    try:
        await reset(connection)
        with pytest.raises(RedisConnectionError):
            await connection.send_command("PING")
    finally:
        await redis.connection_pool.release(connection)


async def _subscribe(redis: Redis, reset: Callable[[AbstractConnection], Awaitable[None]]) -> None:
    with suppress(QueueUnavailable):
        async with subscribed(redis, lambda pubsub: pubsub.subscribe("one")) as pubsub:
            await reset(pubsub.connection)
            with pytest.raises(RedisConnectionError):
                await pubsub.subscribe("two")


@pytest.mark.parametrize("use", [_send_a_command, _subscribe])
def test_a_reset_connection_is_an_outage_and_the_next_call_works(redis_url: str, use: Use) -> None:
    async def main() -> None:
        async with Link(redis_url) as link, open_redis(link.url, connections=1) as redis:

            async def reset(connection: AbstractConnection) -> None:
                link.cut()
                transport = connection._writer.transport
                await wait_until("the process has heard of it", lambda: transport.is_closing())

            await use(redis, reset)
            with redis_errors():
                assert await redis.ping()

    uvloop.run(main())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "rediss://127.0.0.1:1", "unix:///none"])
async def test_every_kind_of_address_gets_its_kind_of_connection(url: str) -> None:
    pool = FairPool(parse_redis_url(url), max_connections=1)
    kind = redis_asyncio.ConnectionPool.from_url(url).connection_class
    assert isinstance(pool.make_connection(), kind)
