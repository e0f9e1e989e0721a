"""What is left of the runs of a thread that was deleted: their journals in Redis, and the rows of those that went on.

The statement that deletes a thread notes its runs in `gone_runs`; after a store that is not ours has deleted one, the
API does. So a journal goes also where Redis is away as its thread is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from relaykit.shared.journal.erasing import Erased, JournalEraser
from relaykit.shared.metrics import REMOVALS_FAILED
from relaykit.shared.postgres.database import Database

FOLLOWED_SECONDS: Final = 10.0
"""How long a run's clients have, after its end or its thread's, to read the last of it."""

POSTPONED_SECONDS: Final = 3600.0
"""After which a worker tries a journal again that Redis has refused to erase."""

log = structlog.get_logger()

# A scalar subquery with a LIMIT: a run that goes on is looked for by its id.
DUE: Final = """
SELECT run_id FROM gone_runs
WHERE deleted_at <= now() - $1 * interval '1 second' AND run_id <> ALL ($3) AND (
    SELECT true FROM runs
    WHERE runs.id = gone_runs.run_id AND (ended_at IS NULL OR ended_at > now() - $1 * interval '1 second') LIMIT 1
) IS NULL
ORDER BY deleted_at LIMIT $2
"""

# Where it is tried again: `deleted_at` says no more than when the run is due.
POSTPONE: Final = "UPDATE gone_runs SET deleted_at = now() + $2 * interval '1 second' WHERE run_id = ANY ($1)"

# A row that someone holds stays, and with it the note of its run.
FORGET: Final = """
WITH ended AS MATERIALIZED (
    SELECT id FROM runs WHERE id = ANY ($1) AND ended_at IS NOT NULL FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM runs WHERE id = ANY (ARRAY (SELECT id FROM ended)) RETURNING id
)
DELETE FROM gone_runs WHERE run_id = ANY (ARRAY (
    SELECT run_id FROM gone_runs
    WHERE run_id = ANY ($1) AND (
        run_id IN (SELECT id FROM deleted) OR (SELECT true FROM runs WHERE runs.id = run_id LIMIT 1) IS NULL
    )
    FOR UPDATE SKIP LOCKED
))
"""


class GoneRuns:
    """Erases what is left of them. Safe to call everywhere, at any time.

    Everything raises DatabaseUnavailable; `erase` raises QueueUnavailable too, and goes on where it is called again.
    """

    def __init__(self, database: Database, journals: JournalEraser) -> None:
        self._database = database
        self._journals = journals

    async def due(self, limit: int, but: Sequence[str] = ()) -> list[str]:
        """Runs whose clients have had FOLLOWED_SECONDS for the end, without those in `but`; oldest deletion first."""
        async with self._database.connection() as connection:
            return [row["run_id"] for row in await connection.fetch(DUE, FOLLOWED_SECONDS, limit, but)]

    async def postpone(self, run_ids: Sequence[str]) -> None:
        """Has them due in POSTPONED_SECONDS, so that they keep no others from going."""
        async with self._database.connection() as connection:
            await connection.execute(POSTPONE, run_ids, POSTPONED_SECONDS)

    async def erase(self, run_ids: Sequence[str]) -> Erased:
        """Erases the journals of these runs, then their rows; says how many journals there were, and what is left.

        What has not ended, or is held by a worker, stays with its note: the row is what refuses the worker's writes. So
        does a run whose journal cannot be erased, which costs itself alone.
        """
        held = set(await self._journals.held(run_ids))
        let_go = [run_id for run_id in run_ids if run_id not in held]
        erased = await self._journals.erase(let_go)
        left = set(erased.left)
        async with self._database.connection() as connection:
            await connection.execute(FORGET, [run_id for run_id in let_go if run_id not in left])
        if erased.left:
            REMOVALS_FAILED.labels("journal").inc(len(erased.left))
            log.warning(
                "journals of deleted threads could not be erased: they are tried again later",
                action="journals_left",
                count=len(erased.left),
                erased=erased.journals,
            )
        return erased

    async def held(self, run_ids: Sequence[str]) -> list[str]:
        """Those of the runs that a worker holds."""
        return await self._journals.held(run_ids)
