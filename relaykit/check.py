"""`relaykit check`: can a process start here? One line for each part.

Nothing is changed but the note in Redis that each process of the deployment renews, and what the site's own lifespan
does: it is entered, as in a worker, and left again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvloop

from relaykit.api.loading import LoadedSite
from relaykit.api.site_app.loaded_app import load_app
from relaykit.shared.errors import RelaykitError, SchemaOutdated, ServerLoadError, SettingsError
from relaykit.shared.log import configure
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.main_loop import run_until_done
from relaykit.shared.redis.check import RedisCheck, reach
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings, load_settings
from relaykit.shared.site.lifetime import Lifetime, lived
from relaykit.shared.tracing.process import check_tracing
from relaykit.worker.loading import load

FAILED = 1
BAD_SETTING = 2


def main() -> int:
    """0 where every part is well, or warned of; 2 where a setting, or what it names, is wrong; 1 where another is.

    Ctrl-C is 1 too, with what was not looked at left out.
    """
    try:
        return _check()
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("relaykit check: stopped", file=sys.stderr)
        return FAILED


def _check() -> int:
    try:
        settings = load_settings()
        check_tracing()
    except RelaykitError as error:
        print(f"settings: {error.code}: {error.message}")
        return _status(error)
    print("settings: ok")
    configure("error", settings.log_format)
    try:
        database, loaded, _ = load(settings)
        kind = "" if loaded.user is None else f", a {type(loaded.user.server).__name__}"
        print(f"server: ok ({settings.chatkit_server}{kind})")
        status = 0
    except RelaykitError as error:
        print(f"server: {error.code}: {error.message}")
        database, loaded, status = Database(settings), None, _status(error)
    app = None
    if settings.chatkit_app is not None:
        try:
            app = load_app(settings)
            print(f"app: ok ({settings.chatkit_app}, a {type(app).__name__})")
        except RelaykitError as error:
            print(f"app: {error.code}: {error.message}")
            status = max(status, _status(error))
    site = None if loaded is None else LoadedSite(loaded, app)
    # not asyncio.run(), which waits for what the site's code has left and what does not end
    loop, services = uvloop.new_event_loop(), _services(settings, database, site)
    return max(status, run_until_done(loop, services, cancels_at_ctrl_c=True))


def _status(error: RelaykitError) -> int:
    return BAD_SETTING if isinstance(error, (SettingsError, ServerLoadError)) else FAILED


async def _services(settings: Settings, database: Database, site: LoadedSite | None) -> int:
    """Prints a line for each; the status, which is the highest that one of them has."""
    status = 0
    async for part, found in _problems(settings, database, site):
        if isinstance(found, RelaykitError):
            print(f"{part}: {found.code}: {found.message}", flush=True)
            status = max(status, _status(found))
        else:
            print(f"{part}: ok" if found is None else f"{part}: ok ({found})", flush=True)
    return status


async def _problems(
    settings: Settings, database: Database, site: LoadedSite | None
) -> AsyncIterator[tuple[str, RelaykitError | str | None]]:
    """Each part with what is wrong with it, if anything: an error, or words about what a process can start with."""
    identity = None
    try:
        async with database:
            identity = database.identity
            yield "postgresql", _warnings(database)
            yield "schema", None
            if site is not None and site.ready is None:
                yield "lifespan", await _lifespan_problem(settings, site)
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


def _warnings(database: Database) -> str | None:
    """What an operator has to look at, although a process can start."""
    found = [*database.unsafe_settings.values()]
    if database.is_read_only:
        found.append("it is read-only: threads can be read, and nothing is accepted")
    return "; ".join(found) or None


async def _lifespan_problem(settings: Settings, site: LoadedSite) -> RelaykitError | None:
    try:
        async with lived(Lifetime(site.opened, settings.lifespan_seconds), owns_process=True):
            return None
    except RelaykitError as error:
        return error
