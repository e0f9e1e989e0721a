"""A client tool call that got no output from the browser, and what its thread then says of it."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import structlog
from chatkit.store import NotFoundError
from chatkit.types import ClientToolCallItem, ThreadItem

from relaykit.shared.crashes import in_own_task
from relaykit.shared.errors import DatabaseUnavailable, Stopping
from relaykit.shared.identity import acting_as
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run
from relaykit.shared.site.user_server import UserServer

log = structlog.get_logger()


class GivenUp(StrEnum):
    """Why a client tool call got no output from the browser. The model reads it as the call's error."""

    LATE = "The browser did not answer in time."
    STOPPED = "The user stopped before the browser answered."
    FAILED = "The turn failed before the browser answered."
    INTERRUPTED = "The user wrote another message before the browser answered."


async def complete_call(
    user: UserServer, database: Database, run: Run, call_id: str, reason: GivenUp
) -> ThreadItem | None:
    """The call, if it now says why it has no output; what waits does not depend on it."""
    try:
        return await in_own_task(lambda: _complete(user, database, run, call_id, reason))
    except NotFoundError:
        return None  # the thread, or the call, was deleted
    except (DatabaseUnavailable, Stopping):
        raise
    except Exception as error:
        more = {"thread_id": run.thread_id, **failure(error)}
        log.error(  # noqa: TRY400
            "a client tool call could not be completed with its reason: it stays pending, and the thread goes on",
            action="give_up_failed",
            **more,
        )
        return None


async def _complete(
    user: UserServer, database: Database, run: Run, call_id: str, reason: GivenUp
) -> ThreadItem | None:
    request = request_context(replace(run, attempt=0))
    store = user.server.store
    with acting_as(request):
        async with database.transaction():
            context = await user.store_context(request)
            item = await store.load_item(run.thread_id, call_id, context)
            if not isinstance(item, ClientToolCallItem) or item.status != "pending":
                return None
            done = item.model_copy(update={"status": "completed", "output": {"error": reason.value}})
            await store.save_item(run.thread_id, done, context)
            thread = await store.load_thread(run.thread_id, context)
            # the SDK deletes the thread's other pending calls, as it does after an output
            await user.server._cleanup_pending_client_tool_call(thread, context)
    return done
