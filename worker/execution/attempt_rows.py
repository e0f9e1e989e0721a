"""The worker's half of the rows of runs: an attempt begins, is handed back, or is the last."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from relaykit.shared.runs.rows import Runs, run_of
from relaykit.shared.runs.run import MAX_UNCOUNTED_ATTEMPTS, Beginning, Run, Status, sources
from relaykit.shared.runs.statements import COLUMNS

# With what our store has of the run's thread and of its anchor, which a first attempt is about to ask for.
# `status_before` is as the statement found it, because a statement does not see what it writes.
# A row that is running has an attempt that was lost: $3 says whether that may be left uncounted, $4 how many may be in
# all. A run that has no attempt left by a limit of its own, or was forbidden the next, is not executed again for it.
# $5 names the call: where its answer was lost after the commit, the attempt that it has begun is its own, and stays.
START: Final = f"""
WITH started AS (
    UPDATE runs SET attempt = attempt + (status <> 'running' OR started_by IS DISTINCT FROM $5)::int,
        status = 'running', started_at = coalesce(started_at, now()), started_by = $5,
        handed_back = handed_back + (
            $3 AND status = 'running' AND started_by IS DISTINCT FROM $5
            AND handed_back < $4 AND coalesce(attempt - handed_back < max_attempts, true)
        )::int
    WHERE id = $1 AND status = ANY ($2)
    RETURNING {COLUMNS}, due_at, queued_at, started_at
)
SELECT {COLUMNS}, extract(epoch FROM now() - due_at)::double precision AS due_seconds,
    extract(epoch FROM now() - queued_at)::double precision AS age_seconds,
    extract(epoch FROM now() - started_at)::double precision AS started_seconds,
    (SELECT status FROM runs WHERE runs.id = $1) AS status_before,
    (SELECT started_by FROM runs WHERE runs.id = $1) IS NOT DISTINCT FROM $5 AS is_own, (
        SELECT data FROM threads
        WHERE threads.id = started.thread_id AND threads.tenant = started.tenant AND threads.owner = started.owner
    ) AS thread, (
        SELECT data FROM items
        WHERE items.thread_id = started.thread_id AND items.id = started.anchor_item_id
            AND items.tenant = started.tenant AND items.owner = started.owner
    ) AS anchor
FROM started
"""  # noqa: S608

STATUS: Final = "SELECT status, attempt, error FROM runs WHERE id = $1"

LATER_INPUTS: Final = """
SELECT input FROM runs
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND seq > (SELECT seq FROM runs WHERE id = $4)
"""

HAND_BACK: Final = """
UPDATE runs SET status = 'queued', due_at = now(), handed_back = handed_back + 1
WHERE id = $1 AND attempt = $2 AND status = 'running'
RETURNING id
"""

FORBID_NEXT_ATTEMPT: Final = """
UPDATE runs SET max_attempts = attempt - handed_back WHERE id = $1 AND attempt = $2 RETURNING id
"""


def _beginning(row: asyncpg.Record) -> Beginning:
    is_lost = row["status_before"] == Status.RUNNING and not row["is_own"]
    cause = "lost" if is_lost else "first" if row["attempt"] == 1 else "handed_back"
    return Beginning(
        cause, None if is_lost else row["due_seconds"], row["age_seconds"], row["started_seconds"]
    )


class AttemptRuns(Runs):
    """What a worker does with the rows of runs that it has claimed, of every owner."""

    async def start(self, run_id: str, *, uncounted: bool = False, by: UUID | None = None) -> Run | None:
        """Begins the next attempt; None where the run has ended. `uncounted`: a lost one does not count against it.

        Called again with the same `by`, it gives the attempt that it has begun, if it had.
        """
        states = sources(Status.RUNNING)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                START, run_id, states, uncounted, MAX_UNCOUNTED_ATTEMPTS, by or uuid4()
            )
        if row is None:
            return None
        return replace(run_of(row), thread=row["thread"], anchor=row["anchor"], began=_beginning(row))

    async def status(self, run_id: str) -> tuple[Status, int, str | None] | None:
        """Status, attempt and error of any run; for the worker, which serves every owner."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(STATUS, run_id)
        return None if row is None else (Status(row["status"]), row["attempt"], row["error"])

    async def later_items(self, run: Run) -> set[str]:
        """Ids of the items that admission stored for the runs that came to the thread after `run`.

        Whatever became of them: a run that was stopped while it waited leaves its message.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(LATER_INPUTS, *run.owner, run.thread_id, run.id)
        # read here: Postgres' own operators refuse a JSON text that holds U+0000 anywhere
        return {item_id for row in rows if (item_id := json.loads(row["input"]).get("item_id")) is not None}

    async def hand_back(self, run: Run) -> bool:
        """Queues a running run again at no cost to its attempts; False where another has it."""
        async with self._database.connection() as connection:
            return await connection.fetchval(HAND_BACK, run.id, run.attempt) is not None

    async def forbid_next_attempt(self, run_id: str, attempt: int) -> bool:
        """From now on the run is not executed again; False where a newer attempt has begun."""
        async with self._database.connection() as connection:
            return await connection.fetchval(FORBID_NEXT_ATTEMPT, run_id, attempt) is not None
