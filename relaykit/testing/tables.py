"""PostgreSQL's stand-in: tables in memory, and a connection that knows each statement of the product by its text.

The product's own code asks (`Runs`, `PostgresStore`, `Endings`); only what PostgreSQL does with a statement is stood in
for. A statement that is not known fails with its first words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from relaykit.shared.postgres.connection import Connection
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings

Row = dict[str, Any]
Table = dict[Any, Row]


@dataclass
class Tables:
    """The rows, by their keys."""

    threads: Table = field(default_factory=dict)
    """By id."""
    items: Table = field(default_factory=dict)
    """By thread and id."""
    runs: Table = field(default_factory=dict)
    """By id."""
    attachments: Table = field(default_factory=dict)
    """By id."""
    unsent: Table = field(default_factory=dict)
    """Attachments that no message has taken, by id."""
    uploads: Table = field(default_factory=dict)
    """Under way, by the attachment's id."""
    awaited_calls: Table = field(default_factory=dict)
    """By tenant, owner and thread."""
    undo_items: Table = field(default_factory=dict)
    """By run and item."""
    undo_fields: Table = field(default_factory=dict)
    """By run and field."""
    last_seq: int = 0

    def next_seq(self) -> int:
        self.last_seq += 1
        return self.last_seq

    def now(self) -> float:
        """The event loop's time."""
        return asyncio.get_running_loop().time()

    def now_at(self) -> datetime:
        """The time of day, which goes on with the event loop's."""
        return datetime.fromtimestamp(self.now() + time.time() - time.monotonic(), UTC)

    def copy(self) -> Tables:
        tables = {
            name: {key: dict(row) for key, row in value.items()}
            for name, value in vars(self).items()
            if isinstance(value, dict)
        }
        return Tables(**tables, last_seq=self.last_seq)

    def restore(self, before: Tables) -> None:
        """Makes the rows what they were. Numbers that were given are not given again, as with a sequence."""
        last_seq = self.last_seq
        vars(self).update(vars(before))
        self.last_seq = last_seq


Statement = Callable[..., list[Row]]
"""What a statement does: gets the tables and its parameters, gives its rows."""


class MemoryConnection:
    """As much of a connection as the product uses."""

    def __init__(self, tables: Tables, statements: Mapping[str, Statement]) -> None:
        self._tables = tables
        self._statements = statements

    async def fetch(self, statement: str, *parameters: object) -> list[Row]:
        known = self._statements.get(statement)
        if known is None:
            raise NotImplementedError(
                f"relaykit.testing has no stand-in for the statement {statement.split()[:8]}"
            )
        return known(self._tables, *parameters)

    async def fetchrow(self, statement: str, *parameters: object) -> Row | None:
        rows = await self.fetch(statement, *parameters)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *parameters: object) -> Any:
        row = await self.fetchrow(statement, *parameters)
        return None if row is None else next(iter(row.values()))

    async def execute(self, statement: str, *parameters: object) -> None:
        await self.fetch(statement, *parameters)


class _Transaction:
    is_open = True


_ambient: ContextVar[_Transaction | None] = ContextVar("relaykit_testing_transaction", default=None)


class MemoryDatabase(Database):
    """One transaction or statement at a time. A transaction that raises leaves nothing behind."""

    def __init__(self, settings: Settings, statements: Mapping[str, Statement]) -> None:
        super().__init__(settings)
        self.tables = Tables()
        self._connection = cast(Connection, MemoryConnection(self.tables, statements))
        self._lock = asyncio.Lock()

    @property
    def in_transaction(self) -> bool:
        ambient = _ambient.get()
        return ambient is not None and ambient.is_open

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        if self.in_transaction:
            yield self._connection
            return
        async with self._lock:
            yield self._connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        if self.in_transaction:
            with_savepoint = self.tables.copy()
            try:
                yield self._connection
            except BaseException:
                self.tables.restore(with_savepoint)
                raise
            return
        async with self._lock:
            before, transaction = self.tables.copy(), _Transaction()
            token = _ambient.set(transaction)
            try:
                yield self._connection
            except BaseException:
                self.tables.restore(before)
                raise
            finally:
                transaction.is_open = False
                _ambient.reset(token)

    async def check(self) -> None:
        """It is there."""


def copies(rows: Sequence[Row]) -> list[Row]:
    """What a SELECT gives: the rows as they are now."""
    return [dict(row) for row in rows]
