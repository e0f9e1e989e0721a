"""The sessions of PostgreSQL: how each is opened and made ready, and what is asked of the first."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import structlog

from relaykit.shared.errors import DatabaseUnavailable, SchemaOutdated, SettingsError
from relaykit.shared.postgres.database_url import DatabaseUrl
from relaykit.shared.postgres.pool import RELEASE_TIMEOUT_SECONDS
from relaykit.shared.postgres.pooler import NO_SESSIONS, READ, keeps_sessions

MIGRATIONS = Path(__file__).parent / "migrations"
SESSION = """
SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_in_transaction_session_timeout = '30s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
"""An idle connection is neither forgotten by a NAT on the way nor kept for a host that went away; a process that is
frozen in a transaction does not keep its locks. A commit waits for the server's disk, because "accepted" means that;
the other values of `synchronous_commit`, which say what it waits for at standbys, stay."""

CLUSTER = "SELECT system_identifier::text FROM pg_control_system()"
IDENTITY = """
SELECT md5(concat_ws('/', $1::text, oid, (SELECT min(applied_at_utc) FROM _yoyo_migration)))
FROM pg_database WHERE datname = current_database()
"""

REPLACE_SECONDS: Final = 1.0
"""While PostgreSQL is read-only, one connection in this time is given up for a new one, which may lead elsewhere."""

_prepared: dict[str, int] = {}

log = structlog.get_logger()


def prepared(statement: str) -> str:
    """Has every connection run `statement` once when it opens, with NULL for each parameter; returns it.

    The first request then finds the plan and the catalog's rows where the later ones do: 1 to 3 ms less a
    statement. Only for statements that do nothing when all parameters are NULL.
    """
    _prepared[statement] = max((int(number) for number in re.findall(r"\$(\d+)", statement)), default=0)
    return statement


class _Session(asyncpg.Connection):
    """Its prepared statements have names that no other process has: where a pooler gives the session to another client
    after all, a statement is missing and never another's.
    """

    _process = uuid4().hex
    _transport: asyncio.Transport
    state: WriteState
    seen_changes: int
    """Those of the state as it was opened."""

    def _get_unique_id(self, prefix: str) -> str:
        return f"{super()._get_unique_id(prefix)}{self._process}"  # type: ignore[misc]


class WriteState:
    """Whether PostgreSQL takes writes, as far as this process has last seen; a change is one line in the log."""

    def __init__(self) -> None:
        self.is_read_only = False
        self.changes = 0
        self._replaced_at = -REPLACE_SECONDS

    def note(self, *, is_read_only: bool) -> None:
        """What a connection has shown."""
        if is_read_only == self.is_read_only:
            return
        self.is_read_only = is_read_only
        self.changes += 1
        if is_read_only:
            log.warning(
                "PostgreSQL is read-only: what only reads is answered, and all else waits or is refused",
                action="database_read_only",
            )
        else:
            log.warning("PostgreSQL takes writes again: everything is answered", action="database_writable")

    def is_replaced(self, seen_changes: int) -> bool:
        """Whether a connection that was refused a write is given up: one that was opened after so many changes."""
        if seen_changes == self.changes and self.is_read_only:  # a new one would find the same, as a rule
            now = time.monotonic()
            if now < self._replaced_at + REPLACE_SECONDS:
                return False
            self._replaced_at = now
        return True


def is_given_up(connection: asyncpg.Connection) -> bool:
    """Whether the connection, which was refused a write, is to be closed: another may lead to a server that takes it.

    Otherwise each write that is refused would cost a server that is read-only a connection.
    """
    if not isinstance(connection, _Session):
        return True
    return connection.state.is_replaced(connection.seen_changes)


class Opener:
    """Opens connections as the URL has it."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float, state: WriteState) -> None:
        self._url, self._timeout_seconds, self._state = url, timeout_seconds, state

    async def warm(self) -> asyncpg.Connection:
        """A connection of the pool, ready for its first request."""
        connection = await self.plain()
        try:
            self._state.note(is_read_only=not await _warm(connection))
            connection.seen_changes = self._state.changes
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def cold(self) -> asyncpg.Connection:
        """A connection that has asked for no table: it is had also while another session holds one locked."""
        connection = await self.plain()
        try:
            await connection.execute(SESSION)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def plain(self, statement_cache_size: int = 100) -> _Session:
        """A connection that nothing has been sent on yet."""
        connection: _Session = await asyncpg.connect(
            **self._url.for_asyncpg(self._timeout_seconds),
            command_timeout=self._timeout_seconds,
            max_cached_statement_lifetime=0,
            statement_cache_size=statement_cache_size,
            connection_class=_Session,
        )
        connection.state, connection.seen_changes = self._state, self._state.changes
        self._url.tune(connection._transport.get_extra_info("socket"))  # asyncpg has no option for it
        return connection


def no_connection(error: Exception) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"DATABASE_URL: cannot connect ({type(error).__name__}: {error})")


async def require_sessions(opener: Opener, count: int) -> None:
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


async def require_migrations(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT migration_id FROM _yoyo_migration")
    applied = {row["migration_id"] for row in rows}
    missing = sorted({path.stem for path in MIGRATIONS.glob("*.sql")} - applied)
    if missing:
        raise SchemaOutdated(f"The database lacks {', '.join(missing)}: run `relaykit migrate`.")


async def identity_of(connection: asyncpg.Connection) -> str:
    """Of this database and no other: its copy by pg_dump has another one, a standby that is promoted the same."""
    try:
        cluster = await connection.fetchval(CLUSTER)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
        cluster = None
    return str(await connection.fetchval(IDENTITY, cluster))


async def _warm(connection: asyncpg.Connection) -> bool:
    """Whether the server takes writes: one that does not refuses the statements that write, and answers the others."""
    takes_writes = True
    await connection.execute(SESSION)
    for statement, parameters in _prepared.items():
        try:
            await connection.fetch(statement, *[None] * parameters)
        except asyncpg.ReadOnlySQLTransactionError:
            takes_writes = False
    return takes_writes
