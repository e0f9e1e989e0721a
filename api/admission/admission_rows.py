"""Admission's half of the rows of runs: it writes new ones, and finds those that an earlier request has made.

A name that begins with `find_` gives what a request that comes again may mean.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from relaykit.shared.errors import (
    BodyRepeated,
    DatabaseUnavailable,
    IdempotencyMismatch,
    ThreadBusy,
    ThreadNotFound,
    TooManyRuns,
)
from relaykit.shared.owner import Owner
from relaykit.shared.runs.rows import Runs, json_of, run_of
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.runs.statements import COLUMNS, IS_ACTIVE, IS_WAITING

TOO_MANY_RETRY_SECONDS = 5.0
"""After which a caller with too many runs may ask again."""

MAX_SAME_BODY = 20
"""Runs among which a client that reconnects may look for its own."""


def _using_thread(outcome: str, condition: str = "true") -> str:
    """Admits by `outcome`. Where `condition` holds that is a use of the thread; a new one has its time already."""
    return f"""
WITH admitted AS MATERIALIZED (
    SELECT {outcome} AS outcome
), used AS (
    UPDATE threads SET updated_at = now()
    WHERE id = $4 AND tenant = $2 AND owner = $3 AND {condition}
        AND (SELECT outcome FROM admitted) IN ('queued', 'waiting')
)
SELECT outcome FROM admitted
"""  # noqa: S608


ADMIT: Final = _using_thread(
    "admit_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    "$5 = 'threads.add_user_message'",
)
ADMIT_MESSAGE: Final = _using_thread(
    "admit_message($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
)

BY_KEY: Final = f"SELECT {COLUMNS} FROM runs WHERE tenant = $1 AND owner = $2 AND idempotency_key = $3"  # noqa: S608

MAKE_DURABLE: Final = "UPDATE runs SET attempt = attempt WHERE id = $1 AND tenant = $2 AND owner = $3"
"""Changes nothing, and its commit comes after that of the row: it waits for the standbys that the row's may not have
waited for, because a wait that is cancelled at its time-out leaves the row committed at the primary alone."""

_SAME_BODY = "tenant = $1 AND owner = $2 AND request_hash = $3 AND idempotency_key IS NULL"

UNRECEIVED: Final = f"""
SELECT {COLUMNS} FROM (
    SELECT {COLUMNS}, received_at FROM runs
    WHERE {_SAME_BODY} AND queued_at > now() - $4 * interval '1 second'
    ORDER BY seq DESC LIMIT 1
) AS newest
WHERE received_at IS NULL
"""  # noqa: S608

SAME_BODY: Final = f"""
SELECT {COLUMNS} FROM runs
WHERE {_SAME_BODY} AND (ended_at IS NULL OR ended_at > now() - $4 * interval '1 second')
ORDER BY seq DESC LIMIT $5
"""  # noqa: S608

RUN_ANSWERING: Final = f"""
SELECT {COLUMNS} FROM (
    (SELECT {COLUMNS}, seq FROM runs WHERE {IS_ACTIVE})
    UNION ALL
    (SELECT {COLUMNS}, seq FROM runs WHERE {IS_WAITING})
) AS unfinished
WHERE kind IN ('threads.create', 'threads.add_user_message', 'threads.retry_after_item')
    AND input ->> 'item_id' = $4
ORDER BY seq LIMIT 1
"""  # noqa: S608

NEWEST: Final = """
SELECT id FROM runs WHERE tenant = $1 AND owner = $2 AND thread_id = $3 ORDER BY seq DESC LIMIT 1
"""

UNFINISHED_COUNT: Final = """
SELECT
    (SELECT count(*) FROM runs WHERE tenant = $1 AND owner = $2 AND status IN ('queued', 'running'))
    + (SELECT count(*) FROM runs WHERE tenant = $1 AND owner = $2 AND status = 'waiting')
"""

UNFINISHED: Final = f"""
SELECT {COLUMNS} FROM (
    (SELECT {COLUMNS}, seq FROM runs WHERE {IS_ACTIVE})
    UNION ALL
    (SELECT {COLUMNS}, seq FROM runs WHERE {IS_WAITING})
) AS unfinished
WHERE $4::text IS NULL OR seq < (SELECT seq FROM runs WHERE id = $4)
ORDER BY (status = 'waiting') DESC, seq DESC
"""  # noqa: S608


class AdmissionRuns(Runs):
    """What the API does with the rows. Every call joins the task's transaction, if it has one."""

    async def admit(self, run: Run, *, may_wait: bool = False, caller_runs: int = 0) -> Status:
        """Writes the row as queued, or as waiting behind the thread's active run. Needs a transaction.

        `caller_runs` limits how many runs of the caller have not ended; 0 is no limit. Raises ThreadBusy where a run
        is active and this may not wait, IdempotencyMismatch where the key is taken (look for its run before and
        after), TooManyRuns.
        """
        return await self._admit(ADMIT, run, may_wait, caller_runs)

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
        BodyRepeated where the same body came without a key within the last `repeat_seconds`; 0 does not ask.
        """
        return await self._admit(ADMIT_MESSAGE, run, may_wait, caller_runs, new_thread, item, repeat_seconds)

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
                json_of(run.input),
                json_of(run.context),
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

    async def newest_id(self, owner: Owner, thread_id: str) -> str | None:
        """The thread's newest run, whatever its status."""
        async with self._database.connection() as connection:
            newest: str | None = await connection.fetchval(NEWEST, *owner, thread_id)
        return newest

    async def find_by_key(self, owner: Owner, key: str) -> Run | None:
        """The run that the caller's request with this Idempotency-Key has made."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(BY_KEY, *owner, key)
        return None if row is None else run_of(row)

    async def make_durable(self, run: Run) -> None:
        """Returns once every standby that a commit waits for has the row. A read-only PostgreSQL got it from
        its primary.

        Raises DatabaseUnavailable.
        """
        try:
            async with self._database.connection() as connection:
                await connection.execute(MAKE_DURABLE, run.id, *run.owner)
        except DatabaseUnavailable as error:
            # asked of PostgreSQL itself: what this process last saw of it may be another's state by now
            if not isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError):
                raise
        else:
            self._database.note_written()

    async def find_unreceived(self, owner: Owner, request_hash: bytes, within_seconds: float) -> Run | None:
        """The caller's newest run of the same body that came without a key, within the last `within_seconds`.

        None where a client has had something of it, as far as its row knows.
        """
        async with self._database.connection() as connection:
            row = await connection.fetchrow(UNRECEIVED, *owner, request_hash, within_seconds)
        return None if row is None else run_of(row)

    async def find_same_body(
        self, owner: Owner, request_hash: bytes, ended_within_seconds: float
    ) -> list[Run]:
        """The caller's newest runs of the same body that came without a key, MAX_SAME_BODY at most.

        A run that has ended is among them only where it did so within the last `ended_within_seconds`.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                SAME_BODY, *owner, request_hash, ended_within_seconds, MAX_SAME_BODY
            )
        return [run_of(row) for row in rows]

    async def find_run_answering(self, owner: Owner, thread_id: str, item_id: str) -> Run | None:
        """The run that answers this message, or waits to do so."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(RUN_ANSWERING, *owner, thread_id, item_id)
        return None if row is None else run_of(row)

    async def count_unfinished(self, owner: Owner) -> int:
        """How many of the caller's runs have not ended."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(UNFINISHED_COUNT, *owner))

    async def unfinished(self, owner: Owner, thread_id: str, *, before: str | None = None) -> list[Run]:
        """The thread's runs that have not ended, or those of them that came before the run `before`.

        Those that wait come first, the newest of them first: ended in this order, none begins in between.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(UNFINISHED, *owner, thread_id, before)
        return [run_of(row) for row in rows]
