"""What the reaper looks for in the rows: of every owner, in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from shared.database import Database
from shared.runs import Run, run_of
from shared.runs_sql import COLUMNS

QUEUED: Final = """
SELECT id, queued_at FROM runs
WHERE status = 'queued' AND queued_at < now() - $1 * interval '1 second'
    AND ($2::timestamptz IS NULL OR (queued_at, id) > ($2, $3))
ORDER BY queued_at, id LIMIT $4
"""

RUNNING: Final = """
SELECT id FROM runs WHERE status = 'running' AND ($1::text IS NULL OR id > $1) ORDER BY id LIMIT $2
"""

# None of these is left by a transaction of ours: finish and promotion are one.
STRANDED: Final = f"""
SELECT DISTINCT ON (tenant, owner, thread_id) {COLUMNS} FROM runs AS waiting
WHERE status = 'waiting' AND NOT EXISTS (
    SELECT FROM runs AS active
    WHERE active.tenant = waiting.tenant AND active.owner = waiting.owner
        AND active.thread_id = waiting.thread_id AND active.status IN ('queued', 'running')
)
ORDER BY tenant, owner, thread_id, seq LIMIT $1
"""  # noqa: S608

# The newest run of a thread stays as long as the thread: it says when that was last used.
FORGET_RUNS: Final = """
DELETE FROM runs WHERE id IN (
    SELECT id FROM runs AS old
    WHERE ended_at < now() - $1 * interval '1 day' AND (
        EXISTS (SELECT FROM runs AS newer WHERE newer.thread_id = old.thread_id AND newer.seq > old.seq)
        OR NOT EXISTS (SELECT FROM threads WHERE threads.id = old.thread_id)
    )
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""

_UNUSED = """NOT EXISTS (
    SELECT FROM runs
    WHERE runs.thread_id = threads.id AND (ended_at IS NULL OR ended_at > now() - $1 * interval '1 day')
)"""

# Two statements: the second sees what was admitted before the first had the locks, and nothing is admitted after.
LOCK_OLD_THREADS: Final = f"""
SELECT id FROM threads WHERE updated_at < now() - $1 * interval '1 day' AND {_UNUSED}
ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608
FORGET_THREADS: Final = f"DELETE FROM threads WHERE id = ANY ($2) AND {_UNUSED} RETURNING id"  # noqa: S608


class Sweeps:
    """Reads and deletions by age. Everything raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queued(self, older_than_seconds: float, page: int) -> AsyncIterator[list[str]]:
        """Ids of the runs that have been queued for so long, oldest first."""
        queued_at, last = None, ""
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(QUEUED, older_than_seconds, queued_at, last, page)
            if not rows:
                return
            yield [row["id"] for row in rows]
            queued_at, last = rows[-1]["queued_at"], rows[-1]["id"]

    async def running(self, page: int) -> AsyncIterator[list[str]]:
        """Ids of all running runs."""
        last = None
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(RUNNING, last, page)
            if not rows:
                return
            yield [row["id"] for row in rows]
            last = rows[-1]["id"]

    async def stranded(self, limit: int) -> list[Run]:
        """Of each thread without an active run: the run that has waited longest in it."""
        async with self._database.connection() as connection:
            return [run_of(row) for row in await connection.fetch(STRANDED, limit)]

    async def forget_runs(self, older_than_days: float, limit: int) -> int:
        """Deletes up to `limit` runs that ended so long ago, but for the newest of each thread; how many."""
        async with self._database.connection() as connection:
            return len(await connection.fetch(FORGET_RUNS, older_than_days, limit))

    async def forget_threads(self, older_than_days: float, limit: int) -> int:
        """Deletes up to `limit` threads that nobody has used for so long, with all that is in them; how many."""
        async with self._database.transaction() as connection:
            old = [row["id"] for row in await connection.fetch(LOCK_OLD_THREADS, older_than_days, limit)]
            return len(await connection.fetch(FORGET_THREADS, older_than_days, old))
