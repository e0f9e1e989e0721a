"""The site's code is loaded before the event loop runs, in the API as in the worker: what it may not ask of asyncio then.

`asyncio.run()` works; what starts a task fails, and what waits for a loop that nothing will run would never be done.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Final

TOO_EARLY: Final = (
    "no event loop runs while the server is loaded; do this on the first request, for instance in respond()"
)
_NO_LOOP: Final = ("no running event loop", "There is no current event loop")
"""How asyncio's own messages begin."""


def wants_loop(error: BaseException) -> bool:
    """Whether the exception, or one that it was made of, says that no event loop runs."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, RuntimeError) and str(cause).startswith(_NO_LOOP):
            _drop_warnings()
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def default_loop() -> asyncio.AbstractEventLoop | None:
    """The loop of this thread that asyncio.get_event_loop() would give where none runs; it makes none."""
    if sys.version_info >= (3, 14):
        return None  # where there is none, get_event_loop() raises
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    loop = getattr(local, "_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None


def has_unrun_tasks(before: asyncio.AbstractEventLoop | None) -> bool:
    """Whether tasks wait on a default loop that came after `before`, and that does not run."""
    loop = default_loop()
    if loop is None or loop is before or loop.is_running() or not asyncio.all_tasks(loop):
        return False
    _drop_warnings()
    return True


def _drop_warnings() -> None:
    """Of the coroutines of the tasks: the process ends, and its one line has said why."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
