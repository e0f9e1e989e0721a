"""Who has done what, when, and what it did: a row for each act of an operator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from relaykit.shared.errors import RelaykitError
from relaykit.shared.postgres.database import Database

_COLUMNS: Final = "id, at, actor, act, target, outcome"

NOTE: Final = "INSERT INTO operator_acts (actor, act, target, outcome) VALUES ($1, $2, $3, $4) RETURNING id"
SET_OUTCOME: Final = "UPDATE operator_acts SET outcome = $2 WHERE id = $1"
ON_TARGET: Final = f"""
SELECT {_COLUMNS} FROM operator_acts WHERE target = $1 ORDER BY id DESC LIMIT $2
"""  # noqa: S608
NEWEST: Final = f"SELECT {_COLUMNS} FROM operator_acts ORDER BY id DESC LIMIT $1"  # noqa: S608


@dataclass(frozen=True, slots=True)
class NotedAct:
    """A row of the audit."""

    id: int
    at: datetime
    actor: str
    act: str
    target: str
    """The id of a run or of a worker."""
    outcome: str | None
    """None where it is not known: the process ended before it could say."""


class Act:
    """An act that is being done. `outcome` is what is noted of it at its end."""

    outcome: str | None = None


class Audit:
    """Writes and reads the acts. Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, actor: str, act: str, target: str, outcome: str | None) -> int:
        """Notes an act, in the task's transaction if it has one; its id."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(NOTE, actor, act, target, outcome))

    @asynccontextmanager
    async def doing(self, actor: str, act: str, target: str) -> AsyncIterator[Act]:
        """Notes an act that is not PostgreSQL's before it is done, and its outcome after it, or why it failed."""
        act_id, doing = await self.note(actor, act, target, None), Act()
        try:
            yield doing
        except RelaykitError as error:
            doing.outcome = doing.outcome or f"not done: {error.code}"
            raise
        finally:
            if doing.outcome is not None:
                async with self._database.connection() as connection:
                    await connection.execute(SET_OUTCOME, act_id, doing.outcome)

    async def on(self, target: str, limit: int) -> Sequence[NotedAct]:
        """The newest acts on a run or a worker."""
        async with self._database.connection() as connection:
            return [_act_of(row) for row in await connection.fetch(ON_TARGET, target, limit)]

    async def newest(self, limit: int) -> Sequence[NotedAct]:
        """The newest acts of all."""
        async with self._database.connection() as connection:
            return [_act_of(row) for row in await connection.fetch(NEWEST, limit)]


def _act_of(row: asyncpg.Record) -> NotedAct:
    return NotedAct(**dict(row))
