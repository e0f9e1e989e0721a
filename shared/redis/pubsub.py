"""Listening on a Redis connection that is checked: one that has gone silent half-open would be listened to for ever."""

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
"""After this long without a message the connection is asked whether it is there."""


@asynccontextmanager
async def listening(redis: Redis, ask: Callable[[PubSub], Awaitable[None]]) -> AsyncIterator[PubSub]:
    """A connection that listens to what `ask` subscribes to. Raises QueueUnavailable, also where no answer comes.

    It is left without a farewell: where the other side has gone silent, TLS would wait for one.
    """
    pubsub = redis.pubsub()
    try:
        with redis_errors():
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                await ask(pubsub)
        yield pubsub
    finally:
        with suppress(QueueUnavailable), redis_errors():
            if pubsub.connection is not None:
                await pubsub.connection.disconnect(nowait=True)
        with suppress(QueueUnavailable), redis_errors():
            await pubsub.aclose()  # type: ignore[no-untyped-call]


async def _arrived(pubsub: PubSub) -> list[dict[str, Any]]:
    """What has come with the message before it, at a twentieth of what a call of `get_message` costs for each."""
    parser = pubsub.connection._parser if pubsub.connection is not None else None
    messages: list[dict[str, Any]] = []
    if not isinstance(parser, _AsyncHiredisParser):
        return messages
    while (response := parser._reader.gets()) is not NOT_ENOUGH_DATA:
        if isinstance(response, Exception):
            raise QueueUnavailable from response
        if response[0] == b"message":
            messages.append({"type": "message", "channel": response[1], "data": response[2]})
        else:
            messages.append(await pubsub.handle_message(response))
    return messages


def is_connected(pubsub: PubSub) -> bool:
    """Whether the connection is there, as far as anything was told of it.

    Only the task that listens may connect: asked without a connection, redis-py makes one, and two tasks that do so
    at once break each other's.
    """
    return pubsub.connection is not None and pubsub.connection.is_connected


async def heard(pubsub: PubSub) -> AsyncIterator[list[dict[str, Any]]]:
    """What comes in on the channels, acknowledgements of subscriptions among it; together what has come together.

    Raises QueueUnavailable where the connection is lost, or has not answered REPLY_TIMEOUT_SECONDS after it was asked.
    """
    asked = False
    while True:
        with redis_errors():
            message = await pubsub.get_message(timeout=REPLY_TIMEOUT_SECONDS if asked else SILENCE_SECONDS)
        if message is not None:
            asked = False
            yield [each for each in (message, *await _arrived(pubsub)) if each["type"] != "pong"]
        elif asked:
            raise QueueUnavailable
        else:
            with redis_errors():
                await pubsub.ping()
            asked = True
