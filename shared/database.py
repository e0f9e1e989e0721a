"""The asyncpg pools, warmed at start, and the transaction that a task's calls share."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import asyncpg
import structlog

from shared.connection import Connection, translated
from shared.database_url import DatabaseUrl, read_database_url
from shared.errors import DatabaseUnavailable, SchemaOutdated, SettingsError, Stopping
from shared.pool import RELEASE_TIMEOUT_SECONDS, Pool
from shared.pooler import NO_SESSIONS, READ, keeps_sessions
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


SERVER_SHARE = 4
"""The code of a site's server has every fourth of an API process's connections for itself."""

_ambient: ContextVar[Connection | None] = ContextVar("relaykit_transaction", default=None)

log = structlog.get_logger()


class Database:
    """A pool of connections that are opened and prepared before the first request.

    Everything raises DatabaseUnavailable when the server is away or does not answer in time, and Stopping once this
    process has closed the pool, which no call needs to wait for; what the caller's own code raises inside a block
    leaves it unchanged. A pool outlives its server: the first call after the server is back finds it. Sessions carry no
    state, so connections return without a round trip.

    A pool belongs to the loop that has opened it, and a call takes its connection from the pool of its own loop. With
    `is_shared` DATABASE_POOL_MAX is for two of them: what the code in one holds does not keep the other waiting.
    """

    def __init__(self, settings: Settings, *, is_shared: bool = False) -> None:
        self._settings = settings
        self._of_server = max(1, settings.database_pool_max // SERVER_SHARE) if is_shared else 0
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._opener: _Opener | None = None
        self._is_closed = False
        self.identity = ""
        """Which database it is; from the start on."""

    async def __aenter__(self) -> Self:
        """Opens DATABASE_POOL_MIN connections. Raises SettingsError, DatabaseUnavailable, SchemaOutdated."""
        settings = self._settings
        url = read_database_url(settings.database_url)
        for name, reason in url.left_out.items():
            log.warning(
                "a parameter of DATABASE_URL is left out",
                action="database_url",
                parameter=name,
                reason=reason,
            )
        opener = self._opener = _Opener(url, settings.database_timeout_seconds)
        most = settings.database_pool_max - self._of_server
        pool = Pool(opener.warm, smallest=min(settings.database_pool_min, most), largest=most)
        is_open = False
        try:
            await _require_sessions(opener, max(settings.database_pool_min, 2))
            await pool.open()
            first = await pool.acquire(settings.database_timeout_seconds)
            await _require_migrations(first)
            self.identity = await _identity(first)
            await pool.release(first, is_unsettled=False)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise SchemaOutdated from error
        except OSError as error:  # before the next, since a certificate that is refused is both
            raise _no_connection(error) from error
        except ValueError:  # its text may hold a part of the password
            raise SettingsError("DATABASE_URL: is not a PostgreSQL URL") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise _no_connection(error) from error
        else:
            self._pools[asyncio.get_running_loop()] = pool
            is_open = True
            return self
        finally:
            if not is_open:
                await pool.terminate()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open_for_server(self) -> None:
        """Gives this loop the server's share of the connections, each of which is opened when it is first needed."""
        assert self._opener is not None, "the database is open"
        pool = self._pools[asyncio.get_running_loop()] = Pool(
            self._opener.warm, smallest=0, largest=self._of_server
        )
        await pool.open()

    async def close(self) -> None:
        """Closes the pool of this loop."""
        pool, self._is_closed = self._pools.pop(asyncio.get_running_loop(), None), True
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._settings.database_timeout_seconds):
                await pool.close()
        except TimeoutError:
            await pool.terminate()

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
    async def _acquired(self) -> AsyncIterator[asyncpg.Connection]:
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is None:
            raise Stopping if self._is_closed else DatabaseUnavailable("The database pool is not open.")
        raw = await pool.acquire(self._settings.database_timeout_seconds)
        is_unsettled = True
        try:
            yield raw
            is_unsettled = False
        except DatabaseUnavailable:
            raise
        except (
            Exception
        ):  # what the server says of a statement, or the caller's own: no statement runs any more
            is_unsettled = False
            raise
        finally:
            await pool.release(raw, is_unsettled=is_unsettled)


class _Session(asyncpg.Connection):
    """Its prepared statements have names that no other process has: where a pooler gives the session to somebody else
    after all, a statement is missing and never another's.
    """

    _process = uuid4().hex
    _transport: asyncio.Transport

    def _get_unique_id(self, prefix: str) -> str:
        return f"{super()._get_unique_id(prefix)}{self._process}"  # type: ignore[misc]


class _Opener:
    """Opens connections as the URL has it."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float) -> None:
        self._url, self._timeout_seconds = url, timeout_seconds

    async def warm(self) -> asyncpg.Connection:
        """A connection of the pool, ready for its first request."""
        connection = await self.plain()
        try:
            await _warm(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def plain(self, statement_cache_size: int = 100) -> asyncpg.Connection:
        """A connection that nothing has been sent on yet."""
        connection = await asyncpg.connect(
            **self._url.for_asyncpg(self._timeout_seconds),
            command_timeout=self._timeout_seconds,
            max_cached_statement_lifetime=0,
            statement_cache_size=statement_cache_size,
            connection_class=_Session,
        )
        self._url.tune(connection._transport.get_extra_info("socket"))  # asyncpg has no option for it
        return connection


def _no_connection(error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"DATABASE_URL: cannot connect ({type(error).__name__}: {error})")


async def _require_sessions(opener: _Opener, count: int) -> None:
    """Raises SettingsError where the sessions are shared with others, as in a pooler's transaction mode."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connections.append(await opener.plain(statement_cache_size=0))
            stack.callback(connections[-1].terminate)
        steps, value = keeps_sessions(count), None
        try:
            while True:
                place, statement = steps.send(value)
                if statement == READ:
                    value = await connections[place].fetchval(statement)
                else:  # by the simple protocol, which is one round trip and not two
                    await connections[place].execute(statement)
        except StopIteration as end:
            is_kept = end.value
        except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
            is_kept = False
        for connection in connections:
            await connection.close(timeout=RELEASE_TIMEOUT_SECONDS)
    if not is_kept:
        raise SettingsError(NO_SESSIONS)


async def _require_migrations(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT migration_id FROM _yoyo_migration")
    applied = {row["migration_id"] for row in rows}
    missing = sorted({path.stem for path in MIGRATIONS.glob("*.sql")} - applied)
    if missing:
        raise SchemaOutdated(f"The database lacks {', '.join(missing)}: run `python -m shared.migrate`.")


async def _identity(connection: asyncpg.Connection) -> str:
    """Of this database and no other: its copy by pg_dump has another one, a standby that is promoted the same."""
    try:
        cluster = await connection.fetchval(CLUSTER)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
        cluster = None
    return str(await connection.fetchval(IDENTITY, cluster))


async def _warm(connection: asyncpg.Connection) -> None:
    await connection.execute(SESSION)
    for statement, parameters in _prepared.items():
        await connection.fetch(statement, *[None] * parameters)
