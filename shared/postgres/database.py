"""The asyncpg pools, warmed at start, and the transaction that a task's calls share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import Self

import asyncpg
import structlog

from relaykit.shared.error_codes import cause_of
from relaykit.shared.errors import DatabaseUnavailable, SchemaOutdated, SettingsError, Stopping
from relaykit.shared.metrics import (
    DATABASE_CONNECTIONS,
    DATABASE_FAILURES,
    DATABASE_POOL_MAX,
    DATABASE_SECONDS,
    DATABASE_WAIT_SECONDS,
    NONE_FREE,
    count_failure,
)
from relaykit.shared.postgres.connection import Connection, postgres_errors
from relaykit.shared.postgres.database_url import read_database_url
from relaykit.shared.postgres.durability import unsafe_settings
from relaykit.shared.postgres.pool import Pool
from relaykit.shared.postgres.sessions import (
    Opener,
    WriteState,
    identity_of,
    no_connection,
    require_migrations,
    require_sessions,
)
from relaykit.shared.settings import Settings

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
    `is_warmed` has each connection prepare what the first request will ask.
    """

    def __init__(self, settings: Settings, *, is_shared: bool = False, is_warmed: bool = True) -> None:
        self._settings = settings
        self._is_warmed = is_warmed
        self._of_server = max(1, settings.database_pool_max // SERVER_SHARE) if is_shared else 0
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._is_closed = False
        self._writes = WriteState()
        self.identity = ""
        """Which database it is; from the start on."""
        self.unsafe_settings: dict[str, str] = {}
        """Settings of the server with which it may lose what was committed; from the start on."""

    async def __aenter__(self) -> Self:
        """Opens DATABASE_POOL_MIN connections. Raises SettingsError, DatabaseUnavailable, SchemaOutdated."""
        settings = self._settings
        url = read_database_url(settings.database_url)
        for name, reason in url.left_out.items():
            log.warning(
                "a parameter of DATABASE_URL is left out: it has no effect",
                action="database_url",
                parameter=name,
                reason=reason,
            )
        opener = Opener(url, settings.database_timeout_seconds, self._writes)
        most = settings.database_pool_max - self._of_server
        opened = opener.warm if self._is_warmed else opener.cold
        pool = Pool(opened, smallest=min(settings.database_pool_min, most), largest=most)
        is_open = False
        try:
            await require_sessions(opener, max(settings.database_pool_min, 2))
            await pool.open()
            first = await pool.acquire(settings.database_timeout_seconds)
            await require_migrations(first)
            self.identity = await identity_of(first)
            self.unsafe_settings = await unsafe_settings(first)
            await pool.release(first, is_unsettled=False)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise SchemaOutdated from error
        except OSError as error:  # before the next, since a certificate that is refused is both
            raise no_connection(error) from error
        except ValueError:  # its text may hold a part of the password
            raise SettingsError("DATABASE_URL: is not a PostgreSQL URL") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise no_connection(error) from error
        else:
            self._pools[asyncio.get_running_loop()] = pool
            self._measure()
            self._warn_of_unsafe()
            is_open = True
            return self
        finally:
            if not is_open:
                await pool.terminate()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _warn_of_unsafe(self) -> None:
        if self._settings.local_issuer_key_file is not None:
            return  # a developer's own machine, or a test: its data may be what it is
        for name, reason in self.unsafe_settings.items():
            log.warning(
                "a setting of PostgreSQL is unsafe: the process starts all the same",
                action="database_unsafe",
                setting=name,
                reason=reason,
            )

    def _measure(self) -> None:
        """Tells the pools' connections whenever they are asked for, also by another thread."""
        for state in ("open", "used", "waiting"):
            DATABASE_CONNECTIONS.labels(state).set_function(partial(self._count, state))
        DATABASE_POOL_MAX.set(self._settings.database_pool_max)

    def _count(self, state: str) -> float:
        return float(sum(getattr(pool, f"{state}_count") for pool in list(self._pools.values())))

    async def open_for_server(self) -> None:
        """Gives this loop the server's share of the connections, each of which is opened when it is first needed.

        Raises SettingsError.
        """
        settings = self._settings
        opener = Opener(
            read_database_url(settings.database_url), settings.database_timeout_seconds, self._writes
        )
        self._pools[asyncio.get_running_loop()] = Pool(opener.warm, smallest=0, largest=self._of_server)

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

    @property
    def is_read_only(self) -> bool:
        """Whether PostgreSQL took no writes when a connection was opened, or `check` or `note_written` called, last."""
        return self._writes.is_read_only

    def note_written(self) -> None:
        """A write has passed."""
        self._writes.note(is_read_only=False)

    async def check(self) -> None:
        """One round trip, which also finds out whether writes are taken. Raises DatabaseUnavailable."""
        async with self._acquired() as raw:
            with postgres_errors(raw):
                given = await raw.fetchval("SELECT current_setting('transaction_read_only')")
        self._writes.note(is_read_only=given == "on")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[asyncpg.Connection]:
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is None:
            raise Stopping if self._is_closed else DatabaseUnavailable("The database pool is not open.")
        asked_at = time.perf_counter()
        try:
            raw = await pool.acquire(self._settings.database_timeout_seconds)
        except DatabaseUnavailable as error:
            if error.__cause__ is not None:  # else it is this process that ends
                _count_refused(error, pool)
            raise
        finally:
            acquired_at = time.perf_counter()
            DATABASE_WAIT_SECONDS.observe(acquired_at - asked_at)  # also where none came
        is_unsettled = True
        try:
            yield raw
            is_unsettled = False
        except DatabaseUnavailable:
            raise
        except Exception:
            # what the server says of a statement, or the caller's own: no statement runs any more
            is_unsettled = False
            raise
        finally:
            DATABASE_SECONDS.observe(time.perf_counter() - acquired_at)
            await pool.release(raw, is_unsettled=is_unsettled)


def _count_refused(error: DatabaseUnavailable, pool: Pool) -> None:
    """Counts a task that got no connection; where others hold them all, that is no failure of the server's."""
    is_busy = isinstance(error.__cause__, TimeoutError) and pool.open_count > 0
    count_failure(DATABASE_FAILURES, NONE_FREE if is_busy else cause_of(error))
    if is_busy:
        log.warning(
            "no connection to PostgreSQL became free in time: the request or step gets an error",
            action="database_none_free",
            used=pool.used_count,
            waiting=pool.waiting_count,
        )
