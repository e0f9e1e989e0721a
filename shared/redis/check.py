"""Is the Redis behind REDIS_URL one that the product can work with: asked at start, and whether the API is ready."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from redis.asyncio.connection import SSLConnection
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from relaykit.shared.error_codes import code_of
from relaykit.shared.errors import QueueUnavailable, RelaykitError, SettingsError
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors, retry_briefly
from relaykit.shared.redis.scripts import script

RETRY_SECONDS = 0.5
FREE_SECONDS = keys.DATABASE_TTL_SECONDS + 2.0
"""The note of a deployment that has ended is gone within this time."""

WRONG_SETTING = {
    "WRONGPASS": "Redis refuses its password, or its user (WRONGPASS)",
    "NOPASS": "Redis has no password for the user without a name, and it has one",
    "NOAUTH": "Redis asks for a password, and it has none (NOAUTH)",
    "NOPERM": "Redis refuses its user what docs/security.md lists (NOPERM)",
    "CROSSSLOT": "Redis is in cluster mode, which Relaykit cannot use",
    "CLUSTERDOWN": "Redis is in cluster mode, which Relaykit cannot use",
    "MOVED": "Redis is in cluster mode, which Relaykit cannot use",
    "UNKNOWN": "Redis is older than 6.2, or lacks a command of it",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of Redis is not trusted; ssl_ca_certs=<file> in it names the CA",
}
"""What an operator has to change, by the code word."""

NOT_NOW = {
    "READONLY": "Redis is a replica (READONLY)",
    "MASTERDOWN": "Redis is a replica that has lost its primary (MASTERDOWN)",
    "NOREPLICAS": "Redis takes no writes without its replicas (NOREPLICAS)",
    "MISCONF": "Redis cannot write to its disk, and takes no writes (MISCONF)",
    "OOM": "Redis is full (OOM)",
    "LOADING": "Redis is loading its data (LOADING)",
}
"""What may pass by itself."""

NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"})

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
                while not await self._asked():
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
        is_ours = await retry_briefly(self._asked)
        if not is_ours and not self._warned:
            log.error(
                "another database's processes use the same keys: set DEPLOYMENT",
                action="deployment_shared",
            )
        self._warned = not is_ours

    async def _asked(self) -> bool:
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


def explained(error: QueueUnavailable, *, is_tls: bool) -> RelaykitError:
    """The same for an operator: which it is of the many things that may be wrong."""
    cause = error.__cause__
    code = code_of(error)
    if code in WRONG_SETTING:
        return SettingsError(f"REDIS_URL: {WRONG_SETTING[code]}")
    if is_tls and (code in NO_TLS or isinstance(cause, RedisTimeoutError)):
        reason = code or "no handshake"
        return SettingsError(
            f"REDIS_URL: Redis does not answer in TLS ({reason}); without TLS it is redis://"
        )
    if code in NOT_NOW:
        return QueueUnavailable(f"REDIS_URL: {NOT_NOW[code]}")
    kind = type(cause).__name__ if cause is not None else None
    if not is_tls and cause is not None and _is_unanswered(cause):
        return QueueUnavailable(
            "REDIS_URL: Redis closes the connection unanswered; a port with TLS wants rediss://"
        )
    reason = " ".join(word for word in (kind, code) if word)
    return QueueUnavailable(f"REDIS_URL: Redis cannot be reached ({reason})" if reason else None)


def _is_unanswered(cause: BaseException) -> bool:
    """Also where the answer is TLS's, which is no reply."""
    return isinstance(cause, InvalidResponse) or str(cause).startswith(
        ("Connection closed by server", "Protocol error")
    )
