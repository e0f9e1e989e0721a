"""Work that is done step by step, in the order that a test wants: between two of its steps it stands at a gate."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from chatkit.store import NotFoundError

from relaykit.shared.errors import RelaykitError
from relaykit.shared.postgres.connection import Connection
from relaykit.shared.postgres.database import Database

Work = Callable[["Process"], Coroutine[Any, Any, Any]]

REST_TURNS = 12
"""Turns of the loop for which nothing happens before a process is taken to be at rest: a cancellation, or the answer
to one, passes through a few tasks."""

T = TypeVar("T")


class Process:
    """Work of one actor, done up to the next gate each time that it is told to go on. Never told again, it has died.

    The work may be spread over tasks. They are at rest when one stands at a gate, and none has a call under way.
    """

    def __init__(self, work: Work, actor: object = None) -> None:
        self.actor = actor
        """Whose work it is."""
        self.outcome: Any = None
        """What the work came to, once it is done: its result, or the error that is a caller's answer."""
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._at_gates = 0
        self._under_way = 0
        self._is_dead = False
        self._moved = asyncio.Event()
        self._task = asyncio.create_task(self._run(work))

    @property
    def done(self) -> bool:
        return self._task.done()

    async def gate(self) -> str:
        """Waits to be told to go on; with what. A dead process does nothing more."""
        if self._is_dead:
            raise asyncio.CancelledError
        self._at_gates += 1
        self._moved.set()
        try:
            return await self._told.get()
        finally:
            self._at_gates -= 1

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """The block is a call that no gate holds up."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._moved.set()

    async def go_on(self, what: str = "") -> None:
        """Returns when the process stands at its next gate or is done. Raises what it did not expect."""
        if not self.done:
            self._told.put_nowait(what)
        await self.stands()

    async def stands(self) -> None:
        while not self.done and not await self._is_at_rest():
            self._moved.clear()
            await self._moved.wait()
        if self.done:
            await self._task

    async def _is_at_rest(self) -> bool:
        for _ in range(REST_TURNS):
            if not (self.done or self._at_gates) or self._under_way:
                return False
            await asyncio.sleep(0)
        return True

    async def kill(self, *others: asyncio.Task[Any] | None) -> None:
        """`others`: tasks that the work has started."""
        self._is_dead = True
        tasks = [task for task in (self._task, *others) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, work: Work) -> None:
        _current.set(self)
        try:
            self.outcome = await work(self)
        except (RelaykitError, NotFoundError) as error:
            self.outcome = error
        finally:
            self._moved.set()


_current: ContextVar[Process | None] = ContextVar("test_process", default=None)
"""The process that the task belongs to."""


def current_process() -> Process:
    process = _current.get()
    assert process is not None, "no process"
    return process


async def stand_at_gate(database: Database) -> None:
    """Waits at the gate of the task's process; not within a transaction, whose locks would stop all others."""
    process = _current.get()
    if process is not None and not database.in_transaction:
        await process.gate()


@contextmanager
def call_under_way() -> Iterator[None]:
    """The block is a call of the task's process, if it has one, that no gate holds up."""
    process = _current.get()
    if process is None:
        yield
        return
    with process.under_way():
        yield


class Gated:
    """A service whose every call waits at the gate of the process that makes it."""

    def __init__(self, service: object, database: Database) -> None:
        self._service, self._database = service, database

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._service, name)
        if not inspect.iscoroutinefunction(call):
            return call

        async def gated(*args: Any, **named: Any) -> Any:
            await stand_at_gate(self._database)
            return await call(*args, **named)

        return gated


def gated(service: T, database: Database) -> T:
    return cast(T, Gated(service, database))


class GatedDatabase:
    """A database whose transactions wait at the gate before they begin."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        await stand_at_gate(self._database)
        async with self._database.transaction() as connection:
            yield connection
