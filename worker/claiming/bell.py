"""The bell of the queue: a worker without a job waits for it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors


class Bell:
    """Needs a Redis connection of its own, because a wait keeps it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._key = names_of(redis)(keys.BELL)

    async def wait(self, timeout_seconds: float) -> None:
        """Returns when the bell rings, or after the timeout. Raises QueueUnavailable."""
        with redis_errors():
            popping = self._redis.blpop([self._key], timeout=cast(int, timeout_seconds))
            await cast(Awaitable[Any], popping)
