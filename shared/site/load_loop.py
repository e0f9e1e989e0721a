"""What the site's code may not ask of asyncio while it is loaded: before the event loop runs, in both processes.

`asyncio.run()` works. What starts a task fails, or would wait for a loop that nothing runs.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

TOO_EARLY: Final = (
    "no event loop runs while the server is loaded; do this on the first request, for instance in respond()"
)
_NO_LOOP: Final = ("no running event loop", "There is no current event loop")
"""How asyncio's own messages begin."""


class StartsTask(Exception):
    """What was loaded waits for a loop that nothing runs."""


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


@contextmanager
def unrun_loop() -> Iterator[None]:
    """What asks in the block for the loop of its thread, by asyncio.get_event_loop(), gets one that is closed after it.

    Raises StartsTask where tasks wait on it then. The same in each thread, and whatever loop the thread has.
    """
    before, loop = _default_loop(), asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
        if asyncio.all_tasks(loop):
            _drop_warnings()
            raise StartsTask
    finally:
        if _default_loop() in (loop, None):  # else the site's code has set one of its own
            asyncio.set_event_loop(before)
        loop.close()


def _default_loop() -> asyncio.AbstractEventLoop | None:
    """Without making one, as get_event_loop() may."""
    if sys.version_info >= (3, 14):
        return None
    loop = getattr(getattr(asyncio.get_event_loop_policy(), "_local", None), "_loop", None)
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None


def _drop_warnings() -> None:
    """Of the coroutines of the tasks: the process ends, and its one line has said why."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
