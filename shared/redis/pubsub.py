"""A checked subscription on a Redis connection.

A connection whose other side is gone without a word never fails by itself: the process would wait on it for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser
from redis.asyncio.client import PubSub

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.redis.client import REPLY_TIMEOUT_SECONDS, Redis, redis_errors

SILENCE_SECONDS = 5.0
"""After this long without a message the process pings Redis over the connection."""


@asynccontextmanager
async def subscribed(redis: Redis, subscribe: Callable[[PubSub], Awaitable[None]]) -> AsyncIterator[PubSub]:
    """A connection on the channels that `subscribe` subscribes it to. Raises QueueUnavailable, also without an answer.

    The connection is closed without a goodbye, because TLS would wait for one from a side that is gone.
    """
    pubsub = redis.pubsub()
    try:
        with redis_errors():
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                await subscribe(pubsub)
        yield pubsub
    finally:
        with suppress(QueueUnavailable), redis_errors():
            if pubsub.connection is not None:
                await pubsub.connection.disconnect(nowait=True)
        with suppress(QueueUnavailable), redis_errors():
            await pubsub.aclose()  # type: ignore[no-untyped-call]


async def _arrived(pubsub: PubSub) -> list[dict[str, Any]]:
    """The messages that have arrived behind the one just read. `get_message` would cost 20 times as much for each."""
    parser = pubsub.connection._parser if pubsub.connection is not None else None
    arrived: list[dict[str, Any]] = []
    if not isinstance(parser, _AsyncHiredisParser):
        return arrived
    while (response := parser._reader.gets()) is not NOT_ENOUGH_DATA:
        if isinstance(response, Exception):
            raise QueueUnavailable from response
        if response[0] == b"message":
            arrived.append({"type": "message", "channel": response[1], "data": response[2]})
        else:
            arrived.append(await pubsub.handle_message(response))
    return arrived


def is_connected(pubsub: PubSub) -> bool:
    """Whether the connection is there, as far as this process knows.

    Only the task that reads messages may connect: redis-py makes a missing connection when a command is sent, and two
    tasks that do so at once break each other's.
    """
    return pubsub.connection is not None and pubsub.connection.is_connected


async def messages(pubsub: PubSub) -> AsyncIterator[list[dict[str, Any]]]:
    """The messages on the channels and the acknowledgements of subscriptions, in the batches in which they arrive.

    Raises QueueUnavailable where the connection is lost, or has not answered a ping within REPLY_TIMEOUT_SECONDS.
    """
    awaits_pong = False
    while True:
        with redis_errors():
            message = await pubsub.get_message(
                timeout=REPLY_TIMEOUT_SECONDS if awaits_pong else SILENCE_SECONDS
            )
        if message is not None:
            awaits_pong = False
            yield [each for each in (message, *await _arrived(pubsub)) if each["type"] != "pong"]
        elif awaits_pong:
            raise QueueUnavailable
        else:
            with redis_errors():
                await pubsub.ping()
            awaits_pong = True
