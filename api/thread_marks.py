"""What a page marks in a thread that it loads: runs that wait, were stopped or have failed, and the user's feedback."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import ENDED, Status

MARKED_RUNS: Final = 200
"""How many runs are told, the newest first."""
MARKED_STATES: Final = [
    status.value for status in Status if status is Status.WAITING or status in ENDED - {Status.COMPLETED}
]
MARKED_ITEMS: Final = 1_000
"""How many of the thread's newest items are looked at for their feedback and their runs."""
LAST_ITEMS: Final = 5
"""How many items of a run are told, the newest first: a page does not have those that are hidden from clients."""

# A run whose message was answered again is not marked any more: that run is marked, if it has to be.
RUNS: Final = """
SELECT id, kind, status, error, anchor_item_id FROM (
    SELECT id, seq, kind, status, error, anchor_item_id,
        max(seq) FILTER (WHERE kind = 'threads.retry_after_item') OVER (PARTITION BY anchor_item_id) AS retried
    FROM runs WHERE tenant = $1 AND owner = $2 AND thread_id = $3
) AS of_thread
WHERE status = ANY ($5::text[]) AND (retried IS NULL OR retried <= seq)
ORDER BY seq DESC LIMIT $4
"""

# The feedback on items, what each run has added, and the items that the runs follow: what a run has added is newer than
# that. All are looked for among the newest items alone.
ITEMS: Final = """
SELECT id, run_id, feedback FROM (
    SELECT id, run_id, feedback, seq FROM items
    WHERE thread_id = $3 AND tenant = $1 AND owner = $2
    ORDER BY seq DESC LIMIT $5
) AS newest
WHERE feedback IS NOT NULL OR run_id = ANY ($4::text[]) OR id = ANY ($6::text[])
ORDER BY seq DESC
"""

SET_FEEDBACK: Final = """
UPDATE items SET feedback = $5 WHERE thread_id = $1 AND tenant = $2 AND owner = $3 AND id = ANY ($4::text[])
"""


@dataclass(frozen=True, slots=True)
class ThreadMarks:
    """Reads the marks of a thread, and keeps the feedback on items of our store."""

    database: Database

    async def of(self, owner: Owner, thread_id: str) -> dict[str, Any]:
        """The marks, oldest run first. A thread that is absent or someone else's has none.

        A foreign store's items say neither their run nor their feedback; then, and where the item that a run follows is
        not among those that were looked at, nothing can be told of what the run has added.
        """
        async with self.database.connection() as connection:
            runs = await connection.fetch(RUNS, *owner, thread_id, MARKED_RUNS, MARKED_STATES)
            run_ids = [run["id"] for run in runs]
            followed = [run["anchor_item_id"] for run in runs]
            items = await connection.fetch(ITEMS, *owner, thread_id, run_ids, MARKED_ITEMS, followed)
        seen = {item["id"] for item in items}
        added: dict[str, list[str]] = {run_id: [] for run_id in run_ids}
        for item in items:
            if item["run_id"] in added:
                added[item["run_id"]].append(item["id"])
        return {
            "runs": [
                {
                    "id": run["id"],
                    "kind": run["kind"],
                    "status": run["status"],
                    "error": run["error"],
                    "item_id": run["anchor_item_id"],
                    "last_item_ids": added[run["id"]][:LAST_ITEMS]
                    if added[run["id"]] or run["anchor_item_id"] in seen
                    else None,
                }
                for run in reversed(runs)
            ],
            "feedback": {item["id"]: item["feedback"] for item in items if item["feedback"] is not None},
        }

    async def set_feedback(self, owner: Owner, thread_id: str, item_ids: Collection[str], kind: str) -> None:
        async with self.database.connection() as connection:
            await connection.execute(SET_FEEDBACK, thread_id, *owner, list(item_ids), kind)
