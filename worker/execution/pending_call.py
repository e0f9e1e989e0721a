"""The client tool call that an attempt ends with, as the store has it."""

from __future__ import annotations

from typing import Any

import structlog
from chatkit.store import Store
from chatkit.types import ClientToolCallItem

from relaykit.shared.crashes import in_own_task
from relaykit.shared.errors import DatabaseUnavailable, Stopping
from relaykit.shared.identity import acting_as
from relaykit.shared.log import failure
from relaykit.shared.runs.awaited_calls import find_left_call
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.verdict import EXHAUSTED, Verdict

log = structlog.get_logger()


async def find_pending_call(attempt: Attempt, user: UserServer, verdict: Verdict) -> str | None:
    """The newest call of the attempt that is pending: its output is awaited, or it is given up.

    The calls that the attempt has noted are asked for by their ids. The thread's newest items are looked through for
    those that it could not note: of a run without an attempt left, and of one that did not complete over a store of
    the site's own, which says nothing of what the server writes without an event.
    """
    run, context, store = attempt.run, attempt.context, user.server.store
    with acting_as(request_context(run)):
        for item_id in reversed(attempt.pending_calls):
            if await _is_pending(store, run, item_id, context):
                return item_id
        was_cut_short = attempt.is_server_called and verdict.status is not Status.COMPLETED
        if verdict.error == EXHAUSTED or (was_cut_short and not user.is_store_ours):
            return await find_left_call(store, run, context)
    return None


async def _is_pending(store: Store[Any], run: Run, item_id: str, context: Any) -> bool:
    """Whether the call is pending in the store too; its event decides where the store does not tell."""
    try:
        item = await in_own_task(lambda: store.load_item(run.thread_id, item_id, context))
    except ABSENT:
        return False
    except (DatabaseUnavailable, Stopping):
        raise
    except Exception as error:
        more = {"run_id": run.id, **failure(error)}
        log.error(  # noqa: TRY400
            "loading the run's client tool call failed: it counts as pending",
            action="pending_call_failed",
            **more,
        )
        return True
    return isinstance(item, ClientToolCallItem) and item.status == "pending"
