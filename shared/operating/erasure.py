"""Erases a thread, or all that is here of a user: rows, journals and bytes, at once.

A run that goes on is ended first, with an attempt more than its worker has: what the worker still writes is refused.
Its row goes when the worker has let go of it, because a run without a row has no fence.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.errors import QueueUnavailable, RelaykitError, StorageUnavailable
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.journal import Journals
from relaykit.shared.operating.act_errors import RunHeld
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.thread_reading import ThreadReader
from relaykit.shared.owner import Owner
from relaykit.shared.postgres import locks
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.fair_share import flow_of
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.rows import run_of
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.runs.statements import COLUMNS, IS_ACTIVE, IS_WAITING
from relaykit.shared.settings import Settings
from relaykit.shared.threads import statements as threads_sql

HELD_LEASES: Final = 3
"""For how many LEASE_SECONDS a worker is waited for: a dead one loses its lease after one."""
POLL_SECONDS: Final = 0.2
ERASED_AT_ONCE: Final = 100
SWEPT_PAGES: Final = 100
"""Of ERASED_AT_ONCE journals each, of earlier erasures: the workers erase what is more."""

_ENDS: Final = (
    "status = 'cancelled', cancel_requested = true, attempt = attempt + 1, ended_at = now(), token = NULL"
)
_GOES_ON: Final = "status IN ('waiting', 'queued', 'running')"

# The attempt that it raises is the fence. No thread's row may be locked in its transaction: see threads/statements.py.
# Each of the two conditions has a small index.
END_OF_THREAD: Final = f"""
UPDATE runs SET {_ENDS} WHERE {_GOES_ON} AND id = ANY (ARRAY (
    SELECT id FROM runs WHERE {IS_ACTIVE} UNION ALL SELECT id FROM runs WHERE {IS_WAITING}
)) RETURNING {COLUMNS}
"""  # noqa: S608
END_OF_USER: Final = f"""
UPDATE runs SET {_ENDS} WHERE {_GOES_ON} AND id = ANY (ARRAY (
    SELECT id FROM runs WHERE tenant = $1 AND owner = $2 AND status IN ('queued', 'running')
    UNION ALL SELECT id FROM runs WHERE tenant = $1 AND owner = $2 AND status = 'waiting'
)) RETURNING {COLUMNS}
"""  # noqa: S608

RUN_IDS_OF_THREAD: Final = "SELECT id FROM runs WHERE tenant = $1 AND owner = $2 AND thread_id = $3"
RUN_IDS_OF_USER: Final = """
SELECT id, queued_at FROM runs
WHERE tenant = $1 AND owner = $2 AND (queued_at, id) > (coalesce($4::timestamptz, '-infinity'), $5)
ORDER BY queued_at, id LIMIT $3
"""
CANCELLED: Final = f"""
SELECT {COLUMNS} FROM runs WHERE tenant = $1 AND owner = $2 AND id = ANY ($3) AND status = 'cancelled'
"""  # noqa: S608

LOCK_ROW: Final = "SELECT id FROM threads WHERE id = $3 AND tenant = $1 AND owner = $2 FOR UPDATE"
# Of attachments those that no other thread shows.
COUNT_THREAD: Final = """
WITH gone AS MATERIALIZED (
    SELECT size_bytes, object_key FROM attachments WHERE thread_id = $3 AND tenant = $1 AND owner = $2 AND (
        SELECT true FROM attachment_threads WHERE attachment_id = attachments.id
            AND attachment_threads.thread_id <> $3 LIMIT 1
    ) IS NULL
)
SELECT (SELECT count(*) FROM items WHERE thread_id = $3 AND tenant = $1 AND owner = $2) AS items,
    (SELECT count(*) FROM gone) AS attachments,
    (SELECT coalesce(sum(size_bytes), 0)::bigint FROM gone) AS bytes,
    ARRAY (SELECT object_key FROM gone WHERE object_key IS NOT NULL) AS object_keys
"""
ERASE_IMPORT: Final = """
DELETE FROM imported_threads WHERE thread_id = $3 AND tenant = $1 AND owner = $2 RETURNING thread_id
"""
ERASE_IMPORTS: Final = "DELETE FROM imported_threads WHERE tenant = $1 AND owner = $2 RETURNING thread_id"
ERASE_UNSENT: Final = """
DELETE FROM attachments WHERE tenant = $1 AND owner = $2 AND thread_id IS NULL
RETURNING size_bytes, object_key
"""
COUNT_LEFT: Final = """
SELECT (SELECT count(*) FROM undo_items WHERE run_id = ANY ($1))
    + (SELECT count(*) FROM undo_thread_fields WHERE run_id = ANY ($1)) AS undo_rows,
    (SELECT count(*) FROM awaited_calls WHERE run_id = ANY ($1)) AS awaited_calls
"""
NOTE_GONE_RUNS: Final = "INSERT INTO gone_runs (run_id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"

KINDS: Final = (
    "threads", "items", "runs", "journals", "attachments", "bytes", "undo_rows", "awaited_calls", "imports",
)  # fmt: skip
"""What is counted, in the order in which it is told."""
EARLIER_OBJECTS: Final = "earlier_objects"
"""Counted besides: objects of what was deleted before that the store does not remove now, either."""


@dataclass(slots=True)
class Erased:
    """What an erasure has come to so far."""

    counts: Counter[str] = field(default_factory=Counter)
    object_keys: list[str] = field(default_factory=list)
    """The objects of attachments whose rows have gone."""
    journals_left: int = 0
    """Those that Redis did not erase."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Safe to repeat after a failure: what is left is found again, or was noted for the workers to remove.

    A journal or an object that cannot be removed keeps nothing else from going. Raises DatabaseUnavailable; at its end
    QueueUnavailable, StorageUnavailable; RunHeld where a worker does not let go of a run.
    """

    settings: Settings
    database: Database
    reader: ThreadReader
    journals: Journals
    queue: JobQueue
    gone_runs: GoneRuns
    objects: AttachmentObjects | None
    audit: Audit

    async def thread(self, thread_id: str, actor: str) -> Counter[str]:
        """What was erased, by kind. Raises ThreadNotFound; ActRefused where it may be several users'."""
        owner = await self.reader.owner_of(thread_id)
        erased = Erased()
        async with self._noted(actor, thread_id, erased.counts):
            await self._end(END_OF_THREAD, *owner, thread_id)
            await self._thread(owner, thread_id, erased)
            await self._remove_bytes(erased)
        return erased.counts

    async def user(self, owner: Owner, actor: str) -> Counter[str]:
        """What was erased, by kind: nothing, where nothing of the user's is here. The audit has the user's digest."""
        erased = Erased()
        async with self._noted(actor, f"user {owner.digest}", erased.counts):
            async for thread_id in self.reader.thread_ids(owner):
                await self._end(END_OF_THREAD, *owner, thread_id)
                await self._thread(owner, thread_id, erased)
            await self._runs(owner, erased)
            async with self.database.transaction() as connection:
                unsent = await connection.fetch(ERASE_UNSENT, *owner)
                imports = await connection.fetch(ERASE_IMPORTS, *owner)
            erased.counts["attachments"] += len(unsent)
            erased.counts["bytes"] += sum(row["size_bytes"] or 0 for row in unsent)
            erased.counts["imports"] += len(imports)
            erased.object_keys += [row["object_key"] for row in unsent if row["object_key"] is not None]
            await self._remove_bytes(erased)
        return erased.counts

    @asynccontextmanager
    async def _noted(self, actor: str, target: str, erased: Counter[str]) -> AsyncIterator[None]:
        """Notes the act with what was erased: also where it failed in part."""
        async with self.audit.doing(actor, "erase", target) as act:
            try:
                yield
            except RelaykitError as error:
                act.outcome = f"in part ({describe_counts(erased)}): {error.code}" if +erased else None
                raise
            act.outcome = describe_counts(erased)

    async def _thread(self, owner: Owner, thread_id: str, erased: Erased) -> None:
        """Adds to `erased` what has gone."""
        run_ids = await self._ids(RUN_IDS_OF_THREAD, *owner, thread_id)
        await self._let_go(owner, run_ids)
        found: Counter[str] = Counter()
        object_keys: list[str] = []
        async with self.database.transaction() as connection:
            is_there = await connection.fetchval(LOCK_ROW, *owner, thread_id) is not None
            # from here on no run of the thread is admitted, and none ends
            await connection.execute(locks.THREAD_LOCK, *owner, thread_id)
            run_ids = await self._ids(RUN_IDS_OF_THREAD, *owner, thread_id)
            if is_there:
                counts = await connection.fetchrow(COUNT_THREAD, *owner, thread_id)
                assert counts is not None
                found.update(threads=1, **{kind: counts[kind] for kind in ("items", "attachments", "bytes")})
                object_keys += counts["object_keys"]
            found["imports"] += len(await connection.fetch(ERASE_IMPORT, *owner, thread_id))
            found.update(await self._left(run_ids))
            await connection.execute(NOTE_GONE_RUNS, run_ids)
            if is_there:
                await connection.execute(threads_sql.DELETE_THREAD, thread_id, *owner)
        erased.counts.update(found)
        erased.object_keys += object_keys
        await self._end(END_OF_THREAD, *owner, thread_id)  # of what was admitted until the thread was locked
        await self._let_go(owner, run_ids)
        await self._erase_journals(run_ids, erased)

    async def _runs(self, owner: Owner, erased: Erased) -> None:
        """Those of threads that are no rows of ours. A row that another transaction holds is left to the workers."""
        after: tuple[datetime | None, str] = (None, "")
        while True:
            await self._end(END_OF_USER, *owner)
            async with self.database.connection() as connection:
                rows = await connection.fetch(RUN_IDS_OF_USER, *owner, ERASED_AT_ONCE, *after)
            if not rows:
                return
            after = (rows[-1]["queued_at"], rows[-1]["id"])
            run_ids = [row["id"] for row in rows]
            await self._let_go(owner, run_ids)
            async with self.database.transaction() as connection:
                found = await self._left(run_ids)
                await connection.execute(NOTE_GONE_RUNS, run_ids)
            erased.counts.update(found)
            await self._erase_journals(run_ids, erased)

    async def _erase_journals(self, run_ids: Sequence[str], erased: Erased) -> None:
        done = await self.gone_runs.erase(run_ids)
        erased.counts["journals"] += done.journals
        erased.journals_left += len(done.left)

    async def _remove_bytes(self, erased: Erased) -> None:
        """Of what was erased now, and before a failure. Raises where something of now is left, at the end of all."""
        if self.objects is not None:
            left = await self.objects.remove_all(erased.object_keys)
            erased.counts[EARLIER_OBJECTS] = await self.sweep(left)
            if left:
                raise StorageUnavailable(
                    f"{len(left)} objects of attachments were not removed: a worker tries again."
                )
        if erased.journals_left:
            raise QueueUnavailable(f"{erased.journals_left} journals were not erased: a worker tries again.")

    async def _left(self, run_ids: Sequence[str]) -> Counter[str]:
        async with self.database.connection() as connection:
            row = await connection.fetchrow(COUNT_LEFT, run_ids)
        return Counter(runs=len(run_ids), **dict(row or {}))

    async def _end(self, statement: str, *parameters: str) -> None:
        """Ends what goes on, fences its attempts, and has its clients told."""
        async with self.database.connection() as connection:
            runs = [run_of(row) for row in await connection.fetch(statement, *parameters)]
        for run in runs:
            await self._tell(run)

    async def _tell(self, run: Run) -> None:
        """Safe to repeat."""
        # no attempt begins with its end
        await retry_briefly(lambda: self.journals.start_attempt(run.id, run.attempt))
        await retry_briefly(lambda: self.journals.end(run.id, run.attempt, Status.CANCELLED))
        await retry_briefly(lambda: self.queue.signal_cancel(run.id, self.settings.run_timeout_seconds))

    async def _let_go(self, owner: Owner, run_ids: Sequence[str]) -> None:
        """Waits until no worker holds one of the runs, and takes what is left of their jobs away. Raises RunHeld."""
        ends_at = time.monotonic() + HELD_LEASES * self.settings.lease_seconds
        if held := await self.gone_runs.held(run_ids):
            async with self.database.connection() as connection:
                rows = await connection.fetch(CANCELLED, *owner, held)
            # an erasure may have failed after it ended them and before it told their clients
            for row in rows:
                await self._tell(run_of(row))
        while held := await self.gone_runs.held(run_ids):
            if time.monotonic() > ends_at:
                raise RunHeld(
                    f"A worker does not let go of run {held[0]}, which has ended: `relaykit runs show` names it. End "
                    "the worker, and do it again."
                )
            await asyncio.sleep(POLL_SECONDS)
        flow = flow_of(self.settings, owner, None)  # a job is found by its flow's path, which knows no tier
        for first in range(0, len(run_ids), ERASED_AT_ONCE):
            some = run_ids[first : first + ERASED_AT_ONCE]
            await retry_briefly(partial(self.queue.discard_all, some, flow))

    async def sweep(self, but: Sequence[str] = ()) -> int:
        """Removes what an erasure has left that did not come to its end; how many objects, but for these, are left."""
        refused: list[str] = []
        for _ in range(SWEPT_PAGES):
            due = await self.gone_runs.due(ERASED_AT_ONCE, refused)
            refused += (await self.gone_runs.erase(due)).left
            if len(due) < ERASED_AT_ONCE:
                break
        return 0 if self.objects is None else await self.objects.sweep_all(but)

    async def _ids(self, statement: str, *parameters: str | int) -> list[str]:
        async with self.database.connection() as connection:
            return [row["id"] for row in await connection.fetch(statement, *parameters)]


def describe_counts(erased: Counter[str]) -> str:
    """One line: the kinds of which there was something."""
    return (
        ", ".join(f"{erased[kind]} {kind.replace('_', ' ')}" for kind in KINDS if erased[kind]) or "nothing"
    )
