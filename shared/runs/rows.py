"""The rows of the runs in PostgreSQL: every change of one names the states that it may come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import asyncpg
from pydantic_core import to_json

from relaykit.shared.errors import RunNotFound
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.locks import THREAD_LOCK
from relaykit.shared.runs import statements as sql
from relaykit.shared.runs.run import GIVEN_UP, AwaitedCall, Kind, Run, Status, sources


class Runs:
    """What both sides do with the rows of `runs`. Every call joins the task's transaction, if it has one.

    Admission's half is `AdmissionRuns`, a worker's is `AttemptRuns`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, owner: Owner, run_id: str) -> Run:
        """The caller's run. Raises RunNotFound for what is absent or someone else's."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.BY_ID, run_id, *owner)
        if row is None:
            raise RunNotFound
        return run_of(row)

    async def active(self, owner: Owner, thread_id: str) -> Run | None:
        """The thread's queued or running run, else that whose client tool call it awaits, else the first that waits."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.ACTIVE, *owner, thread_id)
        if row is None or row["awaited_item"] is None:
            return None if row is None else run_of(row)
        return replace(run_of(row), awaited=AwaitedCall(row["awaited_item"], row["awaited_seconds"]))

    async def lock_thread(self, run: Run) -> None:
        """Keeps admissions that would wait, and the ends of others, out until the transaction ends."""
        async with self._database.connection() as connection:
            await connection.execute(THREAD_LOCK, *run.owner, run.thread_id)

    async def finish(self, run: Run, status: Status, error: str | None = None) -> bool:
        """Ends the run if `run.attempt` is still its newest; False where it is not, or the run has ended."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                sql.FINISH, run.id, run.attempt, status.value, error, sources(status)
            )
        return row is not None

    async def finish_alone(self, run: Run, status: Status, error: str | None = None) -> bool | None:
        """The same in one statement, without a transaction; None, and nothing done, where a run waits behind it."""
        async with self._database.connection() as connection:
            outcome = await connection.fetchval(
                sql.FINISH_ALONE,
                run.id,
                *run.owner,
                run.thread_id,
                run.attempt,
                status.value,
                error,
                sources(status),
            )
        return None if outcome == "waiting" else outcome == "ended"

    async def promote_waiting(self, run: Run) -> Run | None:
        """Queues the run that has waited longest behind `run`, which has ended in the same transaction.

        None where none waits, or another than `run` was the thread's active one.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.PROMOTE, *run.owner, run.thread_id)
        return None if row is None else run_of(row)

    async def set_anchor(self, run: Run, item_id: str | None) -> None:
        async with self._database.connection() as connection:
            await connection.execute(sql.SET_ANCHOR, run.id, item_id)

    async def note_given_up(self, run: Run, item_id: str) -> None:
        """The run tells its clients of the call, which was given up before it could begin."""
        async with self._database.connection() as connection:
            await connection.execute(sql.SET_INPUT, run.id, json_of({**run.input, GIVEN_UP: item_id}))

    async def note_gone(self, owner: Owner, thread_id: str) -> None:
        """The thread was deleted in a store that is not ours: what is left of its runs goes too."""
        async with self._database.connection() as connection:
            await connection.execute(sql.NOTE_GONE, *owner, thread_id)

    async def request_cancel(self, run: Run) -> Status | None:
        """Notes the stop: a run that has not started is cancelled by it, a running one is still running.

        None where the run had ended.
        """
        async with self._database.connection() as connection:
            status = await connection.fetchval(sql.REQUEST_CANCEL, run.id)
        return None if status is None else Status(status)


def json_of(value: Mapping[str, Any]) -> str:
    """For a column of the type json; a number that JSON does not have is stored as null."""
    return to_json(value, inf_nan_mode="null").decode()


def run_of(row: asyncpg.Record) -> Run:
    """From a row of `COLUMNS`."""
    return Run(
        id=row["id"],
        owner=Owner(tenant=row["tenant"], user_id=row["owner"]),
        thread_id=row["thread_id"],
        kind=Kind(row["kind"]),
        status=Status(row["status"]),
        attempt=row["attempt"],
        handed_back=row["handed_back"],
        anchor_item_id=row["anchor_item_id"],
        input=json.loads(row["input"]),
        context=json.loads(row["context"]),
        token=row["token"],
        cancel_requested=row["cancel_requested"],
        error=row["error"],
        request_hash=row["request_hash"],
        idempotency_key=row["idempotency_key"],
        max_attempts=row["max_attempts"],
    )
