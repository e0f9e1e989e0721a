"""Is the Redis behind REDIS_URL one that the product can work with: asked at start, and whether the API is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from redis.asyncio.connection import SSLConnection

from relaykit.shared.errors import QueueUnavailable, SettingsError
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors, retry_briefly
from relaykit.shared.redis.explain import explained
from relaykit.shared.redis.scripts import script

RETRY_SECONDS = 0.5
FREE_SECONDS = keys.DATABASE_TTL_SECONDS + 2.0
"""The note of a deployment that has ended is gone within this time."""

log = structlog.get_logger()


class RedisCheck:
    """Asks by a write, because a Redis that answers PING may still refuse all that the product does."""

    def __init__(self, redis: Redis, database: str) -> None:
        """`database` is the identity of the PostgreSQL database."""
        self._redis = redis
        self._database = database
        self._named = names_of(redis)
        self._check = redis.register_script(script(Path(__file__).parent / "check.lua"))
        self._warned = False

    async def start(self) -> None:
        """Raises SettingsError where something has to be changed, QueueUnavailable where it may pass by itself.

        The text is one line, with nothing of the URL. Another deployment's note is waited for: it may have ended.
        """
        try:
            async with asyncio.timeout(FREE_SECONDS):
                waits = False
                while not await self._ask_redis():
                    if not waits:
                        log.warning(
                            "another database's processes use the same keys: the start waits for their end",
                            action="deployment_waits",
                        )
                        waits = True
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            raise SettingsError(
                "DEPLOYMENT: another database's processes use the same keys of this Redis; give each a name of its own"
            ) from None
        except QueueUnavailable as error:
            raise explained(error, is_tls=_is_tls(self._redis)) from error.__cause__
        await self._warn_of_eviction()

    async def ready(self) -> None:
        """One write, over a new connection where the old one leads to the wrong node. Raises QueueUnavailable."""
        await self.renew()

    async def renew(self) -> None:
        """Notes that the keys are this deployment's; a note of another's is logged once. Raises QueueUnavailable."""
        is_ours = await retry_briefly(self._ask_redis)
        if not is_ours and not self._warned:
            log.error(
                "another database's processes use the same keys: set DEPLOYMENT",
                action="deployment_shared",
            )
        self._warned = not is_ours

    async def _ask_redis(self) -> bool:
        with redis_errors():
            return bool(
                await self._check(
                    keys=self._named.each(keys.DATABASE, keys.QUEUE),
                    args=[self._database, keys.DATABASE_TTL_SECONDS * 1000],
                )
            )

    async def _warn_of_eviction(self) -> None:
        """INFO is more than a narrow user needs: without it nothing is said."""
        try:
            with redis_errors():
                memory = await self._redis.info("memory")
        except QueueUnavailable:
            return
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            log.warning(
                "Redis deletes keys when it is full, and journals with them: set noeviction",
                action="redis_evicts",
                policy=policy,
            )


async def reach(redis: Redis) -> None:
    """Raises what `RedisCheck.start` raises where the server cannot be reached; writes nothing."""
    try:
        with redis_errors():
            await redis.ping()
    except QueueUnavailable as error:
        raise explained(error, is_tls=_is_tls(redis)) from error.__cause__


def _is_tls(redis: Redis) -> bool:
    return issubclass(redis.connection_pool.connection_class, SSLConnection)
