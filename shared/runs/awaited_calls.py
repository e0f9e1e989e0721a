"""The client tool calls whose output a browser owes.

The turn of their thread is not over, and what is sent meanwhile waits. The row is written with the end of the run, and
deleted by the admission of the output (`admit_run`) or by whatever gives the call up.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from chatkit.store import Store
from chatkit.types import ClientToolCallItem

from relaykit.shared.crashes import in_own_task
from relaykit.shared.errors import DatabaseUnavailable, Stopping
from relaykit.shared.log import failure
from relaykit.shared.owner import Owner
from relaykit.shared.postgres import locks
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import Run, Status, sources
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.threads import undo_statements as undo

LEFT_ITEMS: Final = 20
"""The newest items of a thread among which a run's call is looked for, as many as the SDK looks at."""

log = structlog.get_logger()

# A stop that came too late to cut the run short ends its turn all the same.
FINISH_AWAITING: Final = f"""
WITH ended AS (
    UPDATE runs SET status = $3, error = $4, ended_at = now(), token = NULL
    WHERE id = $1 AND attempt = $2 AND status = ANY ($5)
    RETURNING id, tenant, owner, thread_id, cancel_requested
), {undo.FORGET}
INSERT INTO awaited_calls (tenant, owner, thread_id, run_id, item_id, until_at)
SELECT tenant, owner, thread_id, id, $6,
    now() + CASE WHEN cancel_requested THEN 0 ELSE $7::double precision END * interval '1 second'
FROM ended
ON CONFLICT (tenant, owner, thread_id) DO UPDATE
SET run_id = excluded.run_id, item_id = excluded.item_id, until_at = excluded.until_at
RETURNING until_at <= now() AS is_due
"""  # noqa: S608

# The order in which admission takes them: the thread's row, which a foreign store does not have, then its lock.
LOCK_THREAD_ROW: Final = "SELECT FROM threads WHERE id = $3 AND tenant = $1 AND owner = $2 FOR NO KEY UPDATE"

AWAITED: Final = "SELECT item_id FROM awaited_calls WHERE tenant = $1 AND owner = $2 AND thread_id = $3"

END_WAIT: Final = """
DELETE FROM awaited_calls WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND run_id = $4 RETURNING item_id
"""


class AwaitedCalls:
    """The rows of `awaited_calls`. Every call joins the task's transaction, if it has one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def finish(
        self, run: Run, status: Status, error: str | None, item_id: str, seconds: float
    ) -> bool | None:
        """Ends the run as `Runs.finish` does, and begins the wait for the output of its call. Needs the thread's lock.

        True where the wait is over at once, since the run was to be stopped or `seconds` is 0. None where the run's
        attempt is not its newest, or the run has ended: nothing is written then.
        """
        async with self._database.connection() as connection:
            is_due: bool | None = await connection.fetchval(
                FINISH_AWAITING, run.id, run.attempt, status.value, error, sources(status), item_id, seconds
            )
        return is_due

    async def lock_thread(self, owner: Owner, thread_id: str) -> None:
        """Keeps what else is admitted to the thread, and the ends of its runs, out until the transaction ends."""
        async with self._database.connection() as connection:
            await connection.execute(LOCK_THREAD_ROW, *owner, thread_id)
            await connection.execute(locks.THREAD_LOCK, *owner, thread_id)

    async def item_of(self, owner: Owner, thread_id: str) -> str | None:
        """The call that the thread awaits."""
        async with self._database.connection() as connection:
            item_id: str | None = await connection.fetchval(AWAITED, *owner, thread_id)
        return item_id

    async def end(self, run: Run) -> str | None:
        """Ends the wait for the call of `run`; the call's id, or None where the thread does not await it any more."""
        async with self._database.connection() as connection:
            item_id: str | None = await connection.fetchval(END_WAIT, *run.owner, run.thread_id, run.id)
        return item_id


async def find_left_call(store: Store[Any], run: Run, context: Any) -> str | None:
    """The pending client tool call that an attempt of the run has left in the thread, and did not live to tell of."""
    try:
        newest = await in_own_task(
            lambda: store.load_thread_items(run.thread_id, None, LEFT_ITEMS, "desc", context)
        )
    except ABSENT:
        return None  # the thread was deleted
    except (DatabaseUnavailable, Stopping):
        raise
    except Exception as error:
        more = {"run_id": run.id, **failure(error)}
        log.error(  # noqa: TRY400
            "looking for the run's client tool call failed: the run ends without waiting for its output",
            action="left_call_failed",
            **more,
        )
        return None
    for item in newest.data:
        if item.id == run.anchor_item_id:
            break
        if isinstance(item, ClientToolCallItem) and item.status == "pending":
            return item.id
    return None
