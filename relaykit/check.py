"""`relaykit check`: can a process start here? One line for each part.

Nothing is changed but the note in Redis that each process of the deployment renews.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from relaykit.shared.errors import RelaykitError, SchemaOutdated, SettingsError
from relaykit.shared.log import configure
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.check import RedisCheck, reach
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings, load_settings
from relaykit.worker.loading import load

FAILED = 1
BAD_SETTING = 2


def main() -> int:
    """0 where every part is well; 2 where a setting is wrong; 1 where something else is."""
    try:
        settings = load_settings()
    except RelaykitError as error:
        print(f"settings: {error.code}: {error.message}")
        return _status(error)
    print("settings: ok")
    configure("error", settings.log_format)
    try:
        database, user, _ = load(settings)
        print(f"server: ok ({settings.chatkit_server}, a {type(user.server).__name__})")
        status = 0
    except RelaykitError as error:
        print(f"server: {error.code}: {error.message}")
        database, status = Database(settings), _status(error)
    return max(status, asyncio.run(_services(settings, database)))


def _status(error: RelaykitError) -> int:
    return BAD_SETTING if isinstance(error, SettingsError) else FAILED


async def _services(settings: Settings, database: Database) -> int:
    """Prints a line for each; the status, which is the highest that one of them has."""
    status = 0
    async for part, error in _problems(settings, database):
        print(f"{part}: ok" if error is None else f"{part}: {error.code}: {error.message}", flush=True)
        if error is not None:
            status = max(status, _status(error))
    return status


async def _problems(
    settings: Settings, database: Database
) -> AsyncIterator[tuple[str, RelaykitError | None]]:
    """Each part with what is wrong with it, if anything."""
    identity = None
    try:
        async with database:
            identity = database.identity
            yield "postgresql", None
            yield "schema", None
    except SchemaOutdated as error:
        yield "postgresql", None
        yield "schema", error
    except RelaykitError as error:
        yield "postgresql", error
    try:
        async with open_redis(settings.redis_url, deployment=settings.deployment, connections=1) as redis:
            if identity is not None:
                await RedisCheck(redis, identity).start()
            else:  # without it the note would have no owner, and processes that start meanwhile would wait for its end
                await reach(redis)
        yield "redis", None
    except RelaykitError as error:
        yield "redis", error
