"""The asyncpg pool, warmed at start, and the transaction that a task's calls share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.connection import RELEASE_TIMEOUT_SECONDS, UNREACHABLE, Connection, translated
from shared.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from shared.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
SESSION = """
SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_in_transaction_session_timeout = '30s'
"""
"""An idle connection is neither forgotten by a NAT on the way nor kept for a host that went away; a process that is
frozen in a transaction does not keep its locks."""

CLUSTER = "SELECT system_identifier::text FROM pg_control_system()"
IDENTITY = """
SELECT md5(concat_ws('/', $1::text, oid, (SELECT min(applied_at_utc) FROM _yoyo_migration)))
FROM pg_database WHERE datname = current_database()
"""

_prepared: dict[str, int] = {}


def prepared(statement: str) -> str:
    """Has every connection run `statement` once when it opens, with NULL for each parameter; returns it.

    The first request then finds the plan and the catalog's rows where the later ones do: 1 to 3 ms less a
    statement. Only for statements that do nothing when all parameters are NULL.
    """
    _prepared[statement] = max((int(number) for number in re.findall(r"\$(\d+)", statement)), default=0)
    return statement


_ambient: ContextVar[Connection | None] = ContextVar("relaykit_transaction", default=None)


class Database:
    """A pool of connections that are opened and prepared before the first request.

    Everything raises DatabaseUnavailable when the server is away or does not answer in time; what the
    caller's own code raises inside a block leaves it unchanged. A pool outlives its server: the first call
    after the server is back finds it. Sessions carry no state, so connections return without a round trip.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool | None = None
        self.identity = ""
        """Which database it is; from the start on."""

    async def __aenter__(self) -> Self:
        """Opens DATABASE_POOL_MIN connections. Raises SettingsError, DatabaseUnavailable, SchemaOutdated."""
        pool = self._new_pool()
        try:
            await pool
            await _require_migrations(pool)
            self.identity = await _identity(pool)
        except ValueError:  # its text may hold a part of the password
            raise SettingsError("DATABASE_URL: is not a PostgreSQL URL") from None
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise SchemaOutdated from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            detail = f"{type(error).__name__}: {error}"
            raise DatabaseUnavailable(f"DATABASE_URL: cannot connect ({detail})") from error
        else:
            self._pool = pool
            return self
        finally:
            if self._pool is None:
                pool.terminate()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """The connection of the task's transaction, or one of the pool's."""
        ambient = _ambient.get()
        if ambient is not None and ambient.open:
            yield ambient
            return
        async with self._acquired() as raw:
            connection = Connection(raw)
            try:
                yield connection
            finally:
                await connection.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction for all that this task asks of the database until the block ends.

        Tasks started inside the block take part in it; those that outlive it go on with the pool. A block
        inside a block is a savepoint.
        """
        ambient = _ambient.get()
        if ambient is not None and ambient.open:
            async with ambient.transaction():
                yield ambient
            return
        async with self._acquired() as raw:
            shared, own = Connection(raw), Connection(raw)
            async with own.transaction():
                token = _ambient.set(shared)
                try:
                    yield shared
                finally:
                    _ambient.reset(token)
                    await shared.close()

    @property
    def in_transaction(self) -> bool:
        """Whether this task's calls belong to a transaction."""
        ambient = _ambient.get()
        return ambient is not None and ambient.open

    async def check(self) -> None:
        """One round trip. Raises DatabaseUnavailable."""
        async with self._acquired() as raw:
            with translated(raw):
                await raw.fetchval("SELECT 1")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[PoolConnectionProxy]:
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailable("The database pool is not open.")
        try:
            raw = await pool.acquire(timeout=self._settings.database_timeout_seconds)
        except (
            *UNREACHABLE,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            raise DatabaseUnavailable from error
        try:
            yield raw
        finally:
            with suppress(
                *UNREACHABLE, asyncpg.InterfaceError, asyncpg.InternalClientError
            ):  # asyncpg has ended the connection then
                await pool.release(raw, timeout=RELEASE_TIMEOUT_SECONDS)

    def _new_pool(self) -> asyncpg.Pool:
        settings = self._settings
        return asyncpg.create_pool(
            settings.database_url,
            min_size=settings.database_pool_min,
            max_size=settings.database_pool_max,
            timeout=settings.database_timeout_seconds,
            command_timeout=settings.database_timeout_seconds,
            max_inactive_connection_lifetime=0,
            max_cached_statement_lifetime=0,
            server_settings={"application_name": "relaykit"},
            init=_warm,
            reset=_keep,
        )


async def _require_migrations(pool: asyncpg.Pool) -> None:
    applied = {row["migration_id"] for row in await pool.fetch("SELECT migration_id FROM _yoyo_migration")}
    missing = sorted({path.stem for path in MIGRATIONS.glob("*.sql")} - applied)
    if missing:
        raise SchemaOutdated(f"The database lacks {', '.join(missing)}: run `python -m shared.migrate`.")


async def _identity(pool: asyncpg.Pool) -> str:
    """Of this database and no other: its copy by pg_dump has another one, a standby that is promoted the same."""
    try:
        cluster = await pool.fetchval(CLUSTER)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
        cluster = None
    return str(await pool.fetchval(IDENTITY, cluster))


async def _warm(connection: asyncpg.Connection) -> None:
    await connection.execute(SESSION)
    for statement, parameters in _prepared.items():
        await connection.fetch(statement, *[None] * parameters)


async def _keep(connection: asyncpg.Connection) -> None:
    """Instead of asyncpg's reset query: sessions carry no state, and asyncpg ends an open transaction itself."""
