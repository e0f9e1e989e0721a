"""The pool of a process: connections that are opened as they are needed, and a queue of those who wait for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

import asyncpg
import structlog

from relaykit.shared.error_codes import cause_of
from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.log import failure
from relaykit.shared.metrics import DATABASE_FAILURES, count_failure
from relaykit.shared.tasks import end_tasks

RELEASE_TIMEOUT_SECONDS: Final = 1.0
"""How long a cancelled statement has to stop at the server, before its connection is given up."""
GROWTH_PAUSE_SECONDS: Final = 1.0
"""After a further connection was refused, the next is asked for this much later: each refusal costs the server a
process."""

log = structlog.get_logger()


class Pool:
    """`smallest` connections from the start, `largest` at most. What was opened stays open.

    A caller waits for whichever comes first: a connection that is given back, or a new one. So a new one that is
    refused (a role that has no more connections, no descriptor, a name that is not resolved) harms no caller while
    others are open; where none is open, all who wait fail at once. Connections go to those who wait in their order.
    """

    def __init__(
        self, connect: Callable[[], Coroutine[Any, Any, asyncpg.Connection]], *, smallest: int, largest: int
    ) -> None:
        self._connect = connect
        self._smallest, self._largest = smallest, largest
        self._open: set[asyncpg.Connection] = set()
        self._idle: list[asyncpg.Connection] = []  # the last used one on top
        self._waiting: deque[asyncio.Future[asyncpg.Connection]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._returned = asyncio.Event()

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def used_count(self) -> int:
        return len(self._open) - len(self._idle)

    @property
    def waiting_count(self) -> int:
        """Callers that wait for a connection."""
        return len(self._waiting)

    async def open(self) -> None:
        """Opens the first connections. Raises what the driver raises, with none left open."""
        opening = [asyncio.create_task(self._connect()) for _ in range(self._smallest)]
        try:
            for connection in await asyncio.gather(*opening):
                self._open.add(connection)
                self._idle.append(connection)
        finally:
            if not self._open:
                await end_tasks(opening)
                for task in opening:
                    if not task.cancelled() and task.exception() is None:
                        task.result().terminate()

    async def acquire(self, timeout: float) -> asyncpg.Connection:
        """A connection that belongs to the caller until `release`. Raises DatabaseUnavailable."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open.discard(connection)
        if self._is_closed:
            raise DatabaseUnavailable("The database pool is not open.")
        waiter: asyncio.Future[asyncpg.Connection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._grow()
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give(waiter.result())  # given in the moment in which the caller gave up
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailable from error
            raise

    async def release(self, connection: asyncpg.Connection, *, is_unsettled: bool) -> None:
        """Takes a connection back. Where its last statement may still run, that ends first, or the connection does."""
        if connection.is_closed() or not (is_unsettled or connection.is_in_transaction()):
            self._give(connection)
            return
        task = asyncio.create_task(self._settle(connection))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Closes each connection once it is given back."""
        await self._refuse_more()
        while self._open:
            self._returned.clear()
            if self._idle:
                connection = self._idle.pop()
                self._open.discard(connection)
                await connection.close()
            else:
                await self._returned.wait()

    async def terminate(self) -> None:
        """Ends all connections, also those that are in use."""
        await self._refuse_more()
        await end_tasks(list(self._settling))
        for connection in self._open:
            connection.terminate()
        self._open.clear()
        self._idle.clear()

    async def _refuse_more(self) -> None:
        self._is_closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._fail_all(None)
        await end_tasks(list(self._opening))

    async def _settle(self, connection: asyncpg.Connection) -> None:
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                await connection.execute("ROLLBACK" if connection.is_in_transaction() else "SELECT 1")
        except Exception as error:  # whatever it is, the connection is of no more use
            log.debug(
                "a connection failed when it was given back: it is closed",
                action="database_connection_ended",
                **failure(error),
            )
            connection.terminate()
        finally:
            self._give(connection)

    def _give(self, connection: asyncpg.Connection) -> None:
        """To the first who waits, if it can still be used."""
        self._returned.set()
        if connection.is_closed():
            self._open.discard(connection)
            self._grow()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def _grow(self) -> None:
        """Begins to open as many connections as callers wait for, where nothing speaks against it."""
        self._open = {connection for connection in self._open if not connection.is_closed()}
        if self._is_closed or (self._pause is not None and self._open):
            return
        room = self._largest - len(self._open) - len(self._opening)
        for _ in range(min(room, len(self._waiting) - len(self._opening))):
            # without the caller's context, which the connection would keep for as long as it lasts
            task = asyncio.create_task(self._open_one(), context=Context())
            self._opening.add(task)
            task.add_done_callback(self._opened, context=Context())

    async def _open_one(self) -> None:
        connection = await self._connect()
        self._open.add(connection)
        self._give(connection)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None or self._is_closed:
            return
        self._open = {connection for connection in self._open if not connection.is_closed()}
        if self._opening or self._open:
            self._pause_growth(error)
        else:
            self._fail_all(error)

    def _pause_growth(self, error: BaseException) -> None:
        if self._pause is not None:
            return
        sqlstate = getattr(error, "sqlstate", None)
        count_failure(DATABASE_FAILURES, cause_of(error))
        log.warning(
            "a further connection to PostgreSQL was refused: tasks wait for the open ones",
            action="database_growth_refused",
            open=len(self._open),
            sqlstate=sqlstate,
            **failure(error),
        )
        self._pause = asyncio.get_running_loop().call_later(GROWTH_PAUSE_SECONDS, self._resume_growth)

    def _resume_growth(self) -> None:
        self._pause = None
        self._grow()

    def _fail_all(self, error: BaseException | None) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                refused = DatabaseUnavailable()
                refused.__cause__ = error
                waiter.set_exception(refused)
