"""What the reaper looks for in the rows: of every owner, in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.rows import run_of
from relaykit.shared.runs.run import Run
from relaykit.shared.runs.statements import COLUMNS

QUEUED: Final = """
SELECT id, tenant, owner, queued_at FROM runs
WHERE status = 'queued' AND queued_at < now() - $1 * interval '1 second'
    AND (queued_at, id) > (coalesce($2::timestamptz, '-infinity'), $3)
ORDER BY queued_at, id LIMIT $4
"""

RUNNING: Final = """
SELECT id, tenant, owner FROM runs WHERE status = 'running' AND id > $1 ORDER BY id LIMIT $2
"""

RUNS: Final = f"SELECT {COLUMNS} FROM runs WHERE id = ANY ($1)"  # noqa: S608

# None of these is left by a transaction of ours: finish and promotion are one. The calls are looked up one by one: by
# NOT EXISTS PostgreSQL would read all of them.
STRANDED: Final = f"""
SELECT DISTINCT ON (tenant, owner, thread_id) {COLUMNS} FROM runs AS waiting
WHERE status = 'waiting' AND NOT EXISTS (
    SELECT FROM runs AS active
    WHERE active.tenant = waiting.tenant AND active.owner = waiting.owner
        AND active.thread_id = waiting.thread_id AND active.status IN ('queued', 'running')
) AND (
    SELECT true FROM awaited_calls
    WHERE awaited_calls.tenant = waiting.tenant AND awaited_calls.owner = waiting.owner
        AND awaited_calls.thread_id = waiting.thread_id LIMIT 1
) IS NULL
ORDER BY tenant, owner, thread_id, seq LIMIT $1
"""  # noqa: S608

OVERDUE: Final = f"""
SELECT {COLUMNS} FROM runs
WHERE id = ANY (ARRAY (SELECT run_id FROM awaited_calls WHERE until_at <= now() ORDER BY until_at LIMIT $1))
"""  # noqa: S608

# Scalar subqueries with a LIMIT: PostgreSQL would answer EXISTS by reading the other table whole.
# The newest run of a thread stays as long as the thread: it says when that was last used.
OLD_RUNS: Final = """
SELECT id, ended_at AS at,
    (SELECT true FROM runs AS newer WHERE newer.thread_id = old.thread_id AND newer.seq > old.seq LIMIT 1) IS TRUE
    OR (SELECT true FROM threads WHERE threads.id = old.thread_id) IS NULL AS deletable
FROM runs AS old
WHERE ended_at < now() - $1 * interval '1 day' AND (ended_at, id) > (coalesce($2::timestamptz, '-infinity'), $3)
ORDER BY ended_at, id LIMIT $4
"""
DELETE_RUNS: Final = """
DELETE FROM runs
WHERE id = ANY (ARRAY (SELECT id FROM runs WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED))
RETURNING id
"""

_UNUSED = """(
    SELECT true FROM runs
    WHERE runs.thread_id = threads.id AND (ended_at IS NULL OR ended_at > now() - $1 * interval '1 day') LIMIT 1
) IS NULL"""

OLD_THREADS: Final = f"""
SELECT id, updated_at AS at, {_UNUSED} AS deletable FROM threads
WHERE updated_at < now() - $1 * interval '1 day'
    AND (updated_at, id) > (coalesce($2::timestamptz, '-infinity'), $3)
ORDER BY updated_at, id LIMIT $4
"""  # noqa: S608
# Two statements: the second sees what was admitted before the first had the locks, and nothing is admitted after.
LOCK_OLD_THREADS: Final = "SELECT id FROM threads WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED"
# An attachment that another thread shows is that thread's from now on. What is left of the runs goes by GoneRuns.
DELETE_THREADS: Final = f"""
WITH deleted AS (
    DELETE FROM threads WHERE id = ANY ($2) AND {_UNUSED} RETURNING id, tenant, owner
), gone AS (
    INSERT INTO gone_runs (run_id)
    SELECT runs.id FROM runs JOIN deleted
        ON runs.thread_id = deleted.id AND runs.tenant = deleted.tenant AND runs.owner = deleted.owner
    ON CONFLICT DO NOTHING
), other AS MATERIALIZED (
    SELECT attachment_id, threads.id AS thread_id FROM attachment_threads
    JOIN threads ON threads.id = attachment_threads.thread_id
    WHERE attachment_id IN (SELECT id FROM attachments WHERE thread_id IN (SELECT id FROM deleted))
        AND threads.id NOT IN (SELECT id FROM deleted)
    FOR KEY SHARE OF threads
), moved AS (
    UPDATE attachments SET thread_id = other.thread_id FROM other WHERE attachments.id = other.attachment_id
)
SELECT id FROM deleted
"""  # noqa: S608


class OwnedRun(NamedTuple):
    """A run's id, and whose it is."""

    run_id: str
    owner: Owner


class PageCursor(NamedTuple):
    """The last row of a page of old rows: its time, and its id."""

    at: datetime | None
    id: str


OLDEST = PageCursor(None, "")


class SweepResult(NamedTuple):
    """What a page came to. `cursor` is where the next page begins: OLDEST after the last of the old rows."""

    deleted: int
    cursor: PageCursor


class Sweeps:
    """Reads and deletions by age. Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queued(self, older_than_seconds: float, page: int) -> AsyncIterator[list[OwnedRun]]:
        """The runs that have been queued for that long, oldest first."""
        queued_at, last = None, ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(QUEUED, older_than_seconds, queued_at, last, page)
            if not rows:
                return
            yield [_owned(row) for row in rows]
            queued_at, last = rows[-1]["queued_at"], rows[-1]["id"]

    async def running(self, page: int) -> AsyncIterator[list[OwnedRun]]:
        """All running runs."""
        last = ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(RUNNING, last, page)
            if not rows:
                return
            yield [_owned(row) for row in rows]
            last = rows[-1]["id"]

    async def runs(self, run_ids: Sequence[str]) -> list[Run]:
        """The rows of these runs, as far as there are any."""
        if not run_ids:
            return []
        async with self._database.connection() as connection:
            return [run_of(row) for row in await connection.fetch(RUNS, run_ids)]

    async def stranded(self, limit: int) -> list[Run]:
        """The run that has waited longest, of each thread without an active one."""
        async with self._database.connection() as connection:
            return [run_of(row) for row in await connection.fetch(STRANDED, limit)]

    async def overdue(self, limit: int) -> list[Run]:
        """The runs that ended with a client tool call which no browser has answered in time, oldest first."""
        async with self._database.connection() as connection:
            return [run_of(row) for row in await connection.fetch(OVERDUE, limit)]

    async def delete_runs(self, older_than_days: float, after: PageCursor, limit: int) -> SweepResult:
        """Deletes all but the newest of each thread, of the next `limit` runs that ended so long ago."""
        async with self._database.connection() as connection:
            old = await connection.fetch(OLD_RUNS, older_than_days, *after, limit)
            deleted = await connection.fetch(DELETE_RUNS, _deletable(old))
        return SweepResult(len(deleted), _cursor_after(old, limit))

    async def delete_threads(self, older_than_days: float, after: PageCursor, limit: int) -> SweepResult:
        """Deletes the unused ones, with all they hold, of the next `limit` threads that were changed so long ago."""
        async with self._database.transaction() as connection:
            old = await connection.fetch(OLD_THREADS, older_than_days, *after, limit)
            locked = [row["id"] for row in await connection.fetch(LOCK_OLD_THREADS, _deletable(old))]
            deleted = await connection.fetch(DELETE_THREADS, older_than_days, locked)
        return SweepResult(len(deleted), _cursor_after(old, limit))


def _owned(row: asyncpg.Record) -> OwnedRun:
    return OwnedRun(row["id"], Owner(tenant=row["tenant"], user_id=row["owner"]))


def _deletable(old: list[asyncpg.Record]) -> list[str]:
    return [row["id"] for row in old if row["deletable"]]


def _cursor_after(old: list[asyncpg.Record], limit: int) -> PageCursor:
    return PageCursor(old[-1]["at"], old[-1]["id"]) if len(old) == limit else OLDEST
