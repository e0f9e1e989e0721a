"""`relaykit check`: can a process start here? One line for each part.

Nothing is changed but the note in Redis that each process of the deployment renews.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from relaykit.shared.errors import RelaykitError, SchemaOutdated
from relaykit.shared.log import configure
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.check import RedisCheck, reach
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings, load_settings
from relaykit.worker.loading import load


def main() -> int:
    """0 where every part is well, 1 where one is not."""
    try:
        settings = load_settings()
    except RelaykitError as error:
        print(f"settings: {error.code}: {error.message}")
        return 1
    print("settings: ok")
    configure("error", settings.log_format)
    try:
        database, user, _ = load(settings)
        print(f"server: ok ({settings.chatkit_server}, a {type(user.server).__name__})")
        is_well = True
    except RelaykitError as error:
        print(f"server: {error.code}: {error.message}")
        database, is_well = Database(settings), False
    return 0 if asyncio.run(_services(settings, database)) and is_well else 1


async def _services(settings: Settings, database: Database) -> bool:
    is_well = True
    async for part, error in _problems(settings, database):
        print(f"{part}: ok" if error is None else f"{part}: {error.code}: {error.message}", flush=True)
        is_well = is_well and error is None
    return is_well


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
