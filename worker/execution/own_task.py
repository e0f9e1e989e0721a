"""The steps of an attempt in a task of their own, and what their failure comes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from chatkit.store import NotFoundError

from relaykit.shared.crashes import ServerCrashed, in_own_task
from relaykit.shared.errors import ContextTimeout
from relaykit.shared.log import failure
from relaykit.shared.tasks import end_tasks
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import Exit, Result

log = structlog.get_logger()


async def isolated(attempt: Attempt, steps: Callable[[Attempt], Awaitable[Result]]) -> Result:
    """What the steps give. The site's code in them can cancel their task alone: the run is ended in the job's."""
    try:
        return await in_own_task(lambda: steps(attempt))
    except ServerCrashed as error:
        if attempt.producer is not None:  # the steps were cancelled while they waited for it
            await end_tasks([attempt.producer])
            attempt.is_left_behind, attempt.producer = not attempt.producer.done(), None
        return failed(attempt, error)


def failed(attempt: Attempt, error: Exception) -> Result:
    """What a step has raised, as a result. Logs it."""
    # with its thread the run is stopped, and then has nothing to load
    is_deleted = attempt.stopped is Stop.USER and isinstance(error, NotFoundError)
    if not is_deleted:
        log.error("executing the run failed: the run ends", action="run_failed", **failure(error))
    return Result(Exit.FAILED, error.code if isinstance(error, ContextTimeout) else "internal")
