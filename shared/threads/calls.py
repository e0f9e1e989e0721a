"""How the store asks PostgreSQL: as whom, how often, and what an answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, NamedTuple, TypeVar

import asyncpg
import structlog
from chatkit.store import NotFoundError

from relaykit.shared.errors import DatabaseUnavailable, Fenced
from relaykit.shared.identity import request_of
from relaykit.shared.log import failure
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database

RETRY_SECONDS: Final = 0.25

T = TypeVar("T")

log = structlog.get_logger()


class StoreCalls:
    """Statements of the store. Each is one block of `calling`, and is repeated until PostgreSQL is back where `waits`
    says so, which every one of them can be. Raises Fenced where the answer says so.
    """

    def __init__(
        self,
        database: Database,
        waits: Callable[[], bool] = lambda: False,
        calling: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.database = database
        self._waits = waits
        self._calling = calling

    async def row(self, statement: str, *parameters: object) -> asyncpg.Record | None:
        """The first row of the answer, if there is one."""
        rows = await self.rows(statement, *parameters)
        return rows[0] if rows else None

    async def rows(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        """All rows. Raises NotFoundError for a parameter with U+0000, which no text of Postgres' holds."""
        if any(isinstance(parameter, str) and "\x00" in parameter for parameter in parameters):
            raise NotFoundError("an id with U+0000")  # JSON has it escaped

        async def fetch() -> list[asyncpg.Record]:
            async with self.database.connection() as connection:
                rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
            if rows and rows[0].get("fenced"):
                raise Fenced  # here, so that `calling` hears of it
            return rows

        return await self.patiently(fetch)

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call again until PostgreSQL is back, where `waits` says so; a lost transaction only as a whole."""
        with self._calling():
            while True:
                try:
                    return await call()
                except DatabaseUnavailable as error:
                    if self.database.in_transaction or not self._waits():
                        raise
                    log.warning(
                        "a call of the store failed because PostgreSQL is away: it is tried again",
                        action="store_retry",
                        **failure(error),
                    )
                await asyncio.sleep(RETRY_SECONDS)


class Fence(NamedTuple):
    """The caller's run and attempt; both None outside a worker."""

    run_id: str | None
    attempt: int | None


def owner_of(context: object) -> Owner:
    """Whose call it is, whatever the user's server calls its context."""
    return request_of(context).owner


def fence_of(context: object) -> Fence:
    request = request_of(context)
    if request.attempt is None:
        return Fence(None, None)
    return Fence(request.run_id, request.attempt)


def found(row: asyncpg.Record | None, what: str) -> asyncpg.Record:
    """The row. Raises NotFoundError where there is none."""
    if row is None:
        raise NotFoundError(what)
    return row


def written(row: asyncpg.Record | None, what: str) -> asyncpg.Record:
    """The answer to a write. Raises NotFoundError where there was nothing to write."""
    row = found(row, what)
    if not row["found"]:
        raise NotFoundError(what)
    return row
