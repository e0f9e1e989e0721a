"""The rows of the runs in PostgreSQL: every change of one names the states that it may come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
from pydantic_core import to_json

from relaykit.shared.errors import (
    BodyRepeated,
    IdempotencyMismatch,
    RunNotFound,
    ThreadBusy,
    ThreadNotFound,
    TooManyRuns,
)
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.postgres.locks import THREAD_LOCK
from relaykit.shared.runs import statements as sql
from relaykit.shared.runs.run import GIVEN_UP, MAX_UNCOUNTED_ATTEMPTS, AwaitedCall, Kind, Run, Status, sources

TOO_MANY_RETRY_SECONDS = 5.0
"""After which a caller with too many runs may ask again."""

MAX_SAME_BODY = 20
"""Runs among which a client that reconnects may look for its own."""


class Runs:
    """The rows of `runs`. Every call joins the task's transaction, if it has one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, run: Run, *, may_wait: bool = False, caller_runs: int = 0) -> Status:
        """Writes the row as queued, or as waiting behind the thread's active run. Needs a transaction.

        `caller_runs` limits how many runs of the caller have not ended; 0 is no limit. Raises ThreadBusy where a run
        is active and this may not wait, IdempotencyMismatch where the key is taken (look for its run before and
        after), TooManyRuns.
        """
        return await self._admit(sql.ADMIT, run, may_wait, caller_runs)

    async def admit_message(
        self,
        run: Run,
        *,
        may_wait: bool,
        caller_runs: int,
        new_thread: str | None,
        item: str,
        repeat_seconds: float,
    ) -> Status:
        """The same for a message in our store, in one statement with its item and, where it is new, its thread.

        `item` and `new_thread` are their JSON; the item's id is the run's anchor. Also raises ThreadNotFound, and
        BodyRepeated where the same body came without a key not longer ago than `repeat_seconds`; 0 does not ask.
        """
        return await self._admit(
            sql.ADMIT_MESSAGE, run, may_wait, caller_runs, new_thread, item, repeat_seconds
        )

    async def _admit(
        self, statement: str, run: Run, may_wait: bool, caller_runs: int, *more: object
    ) -> Status:
        async with self._database.connection() as connection:
            outcome = await connection.fetchval(
                statement,
                run.id,
                *run.owner,
                run.thread_id,
                run.kind.value,
                _json(run.input),
                _json(run.context),
                run.token,
                run.anchor_item_id,
                run.idempotency_key,
                run.request_hash,
                run.max_attempts,
                may_wait,
                caller_runs,
                *more,
            )
        match outcome:
            case "repeated":
                raise BodyRepeated
            case "thread_gone":
                raise ThreadNotFound
            case "key_taken":
                raise IdempotencyMismatch
            case "too_many":
                raise TooManyRuns(retry_after_seconds=TOO_MANY_RETRY_SECONDS)
            case "busy":
                active = await self.active(run.owner, run.thread_id)
                raise ThreadBusy(active.id if active else "")
            case _:
                return Status(outcome)

    async def get(self, owner: Owner, run_id: str) -> Run:
        """The caller's run. Raises RunNotFound for what is absent or someone else's."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.BY_ID, run_id, *owner)
        if row is None:
            raise RunNotFound
        return run_of(row)

    async def by_idempotency_key(self, owner: Owner, key: str) -> Run | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.BY_KEY, *owner, key)
        return None if row is None else run_of(row)

    async def unreceived(self, owner: Owner, request_hash: bytes, within_seconds: float) -> Run | None:
        """The caller's newest run of the same body that came without a key, not longer ago than that.

        None where a client has had something of it, as far as its row knows.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.UNRECEIVED, *owner, request_hash, within_seconds)
        return None if row is None else run_of(row)

    async def same_body(self, owner: Owner, request_hash: bytes, ended_within_seconds: float) -> list[Run]:
        """The caller's newest runs of the same body that came without a key, MAX_SAME_BODY at most.

        Of those that have ended only such as did so not longer ago than that.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                sql.SAME_BODY, *owner, request_hash, ended_within_seconds, MAX_SAME_BODY
            )
        return [run_of(row) for row in rows]

    async def note_received(self, run_ids: Sequence[str]) -> set[str]:
        """Notes that a client has had something of these runs; gives those of which the row says so now.

        A row that another transaction has locked is passed over: this one waits for none, and so none for this one.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql.NOTE_RECEIVED, run_ids)
        return {row["id"] for row in rows}

    async def active(self, owner: Owner, thread_id: str) -> Run | None:
        """The thread's queued or running run, else that whose client tool call it awaits, else the first that waits."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.ACTIVE, *owner, thread_id)
        if row is None or row["awaited_item"] is None:
            return None if row is None else run_of(row)
        return replace(run_of(row), awaited=AwaitedCall(row["awaited_item"], row["awaited_seconds"]))

    async def unended_count(self, owner: Owner) -> int:
        """How many of the caller's runs have not ended."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(sql.UNENDED_COUNT, *owner))

    async def unended(self, owner: Owner, thread_id: str, *, before: str | None = None) -> list[Run]:
        """The thread's runs that have not ended, or those of them that came before the run `before`.

        Those that wait come first, the newest of them first: ended in this order, none begins in between.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql.UNENDED, *owner, thread_id, before)
        return [run_of(row) for row in rows]

    async def answering(self, owner: Owner, thread_id: str, item_id: str) -> Run | None:
        """The run that answers this message, or waits to do so."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.ANSWERING, *owner, thread_id, item_id)
        return None if row is None else run_of(row)

    async def start(self, run_id: str, *, uncounted: bool = False) -> Run | None:
        """Begins the next attempt; None where the run has ended. `uncounted`: a lost one does not count against it."""
        states = sources(Status.RUNNING)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.START, run_id, states, uncounted, MAX_UNCOUNTED_ATTEMPTS)
        return None if row is None else replace(run_of(row), thread=row["thread"], anchor=row["anchor"])

    async def status(self, run_id: str) -> tuple[Status, int, str | None] | None:
        """Status, attempt and error of any run; for the worker, which serves every owner."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(sql.STATUS, run_id)
        return None if row is None else (Status(row["status"]), row["attempt"], row["error"])

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

    async def later_items(self, run: Run) -> set[str]:
        """Ids of the items that admission stored for the runs that came to the thread after `run`.

        Whatever became of them: a run that was stopped while it waited leaves its message.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql.LATER_INPUTS, *run.owner, run.thread_id, run.id)
        # read here: Postgres' own operators refuse a JSON text that holds U+0000 anywhere
        return {item_id for row in rows if (item_id := json.loads(row["input"]).get("item_id")) is not None}

    async def set_anchor(self, run: Run, item_id: str | None) -> None:
        async with self._database.connection() as connection:
            await connection.execute(sql.SET_ANCHOR, run.id, item_id)

    async def note_given_up(self, run: Run, item_id: str) -> None:
        """The run tells its clients of the call, which was given up before it could begin."""
        async with self._database.connection() as connection:
            await connection.execute(sql.SET_INPUT, run.id, _json({**run.input, GIVEN_UP: item_id}))

    async def hand_back(self, run: Run) -> bool:
        """Queues a running run again at no cost to its attempts; False where another has it."""
        async with self._database.connection() as connection:
            return await connection.fetchval(sql.HAND_BACK, run.id, run.attempt) is not None

    async def request_cancel(self, run: Run) -> Status | None:
        """Notes the stop: a run that has not started is cancelled by it, a running one is still running.

        None where the run had ended.
        """
        async with self._database.connection() as connection:
            status = await connection.fetchval(sql.REQUEST_CANCEL, run.id)
        return None if status is None else Status(status)

    async def forbid_next_attempt(self, run_id: str, attempt: int) -> bool:
        """From now on the run is not executed again; False where a newer attempt has begun."""
        async with self._database.connection() as connection:
            return await connection.fetchval(sql.FORBID_NEXT_ATTEMPT, run_id, attempt) is not None

    async def statuses(self, run_ids: Sequence[str]) -> dict[str, tuple[Status, int]]:
        """Status and attempt of each run that there is, of any owner."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql.STATUSES, run_ids)
        return {row["id"]: (Status(row["status"]), row["attempt"]) for row in rows}


def _json(value: Mapping[str, Any]) -> str:
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
