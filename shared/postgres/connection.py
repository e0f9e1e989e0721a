"""One connection of the pool, as the rest of the product sees it: driver errors end here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import structlog

from relaykit.shared.error_codes import cause_of
from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.log import failure
from relaykit.shared.metrics import DATABASE_FAILURES, count_failure
from relaykit.shared.postgres.pool import RELEASE_TIMEOUT_SECONDS
from relaykit.shared.postgres.sessions import is_given_up

log = structlog.get_logger()

UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)


class Connection:
    """A connection for as long as its block lasts. Tasks that share it take turns, statement by statement.

    Every method raises DatabaseUnavailable when the server is away or does not answer in time, and leaves
    what Postgres says of the statement itself as asyncpg raises it.
    """

    __slots__ = ("_lock", "_loop", "_open", "_raw", "_savepoints")

    def __init__(self, raw: asyncpg.Connection) -> None:
        self._raw = raw
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._open = True
        self._savepoints = 0

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        async with self._turn():
            return await self._raw.fetch(statement, *parameters)

    async def fetchrow(self, statement: str, *parameters: object) -> asyncpg.Record | None:
        async with self._turn():
            return await self._raw.fetchrow(statement, *parameters)

    async def fetchval(self, statement: str, *parameters: object) -> Any:
        async with self._turn():
            return await self._raw.fetchval(statement, *parameters)

    async def execute(self, statement: str, *parameters: object) -> str:
        async with self._turn():
            return await self._raw.execute(statement, *parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction, or a savepoint where one is open; an exception out of the block undoes it.

        Tasks that share a connection share its savepoints: only one of them may open one at a time.
        Raises InFailedSQLTransactionError where the block swallowed an error of Postgres': nothing of it
        is kept then, for all that COMMIT seems to succeed.
        """
        with postgres_errors(self._raw):
            nested = self._raw.is_in_transaction()
        if nested:
            self._savepoints += 1
            name = f"s{self._savepoints}"
            begin, end, undo = f"SAVEPOINT {name}", f"RELEASE {name}", f"ROLLBACK TO {name}"
        else:
            begin, end, undo = "BEGIN", "COMMIT", "ROLLBACK"
        try:
            await self.execute(begin)
            yield
            ended = await self.execute(end)
        except BaseException:
            await self._undo(undo)
            raise
        if ended == "ROLLBACK":
            raise asyncpg.InFailedSQLTransactionError("a statement of the transaction failed")

    async def _undo(self, statement: str) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                await self.execute(statement)
        except (DatabaseUnavailable, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            _terminate(self._raw)  # which undoes it too

    async def close(self) -> None:
        """Lets the statement that is running end; tasks that outlive the block get no further turn."""
        self._open = False
        async with self._lock:
            pass

    @property
    def open(self) -> bool:
        """Whether the block goes on, in the loop that asks: another one has connections of its own."""
        return self._open and self._loop is asyncio.get_running_loop()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._lock:
            if not self._open:
                raise RuntimeError("the block that this connection belonged to has ended")
            with postgres_errors(self._raw):
                yield


@contextmanager
def postgres_errors(raw: asyncpg.Connection) -> Iterator[None]:
    """Raises DatabaseUnavailable for what the driver raises when the server is away."""
    try:
        yield
    except asyncpg.TransactionRollbackError as error:  # a deadlock's victim: the same again will do
        raise _unavailable(error) from error
    except asyncpg.ReadOnlySQLTransactionError as error:  # a primary that became a standby
        if is_given_up(raw):
            _terminate(raw)
        raise _unavailable(error) from error
    except (
        asyncpg.InternalClientError
    ) as error:  # the server has ended the session, and the socket not yet closed
        _terminate(raw)
        raise _unavailable(error) from error
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError) as error:
        log.warning(
            "a pooler has given the session to another client: the connection is closed",
            action="database_session_lost",
            **failure(error),
        )
        _terminate(raw)
        raise _unavailable(error) from error
    except UNREACHABLE as error:
        raise _unavailable(error) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if raw.is_closed():
            raise _unavailable(error) from error
        raise


def _unavailable(error: Exception) -> DatabaseUnavailable:
    count_failure(DATABASE_FAILURES, cause_of(error))
    return DatabaseUnavailable()


def _terminate(raw: asyncpg.Connection) -> None:
    if not raw.is_closed():
        raw.terminate()
