"""The event loop of a process: what ends its main task, and what does not."""

from __future__ import annotations

import asyncio
import atexit
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import structlog
import uvloop

from relaykit.shared.log import failure
from relaykit.shared.process.end import end_now, end_within_bound, final_status, names_of

TASKS_SECONDS = 2.0
"""This much of END_SECONDS is for the tasks that are left to clean up."""

STOPPED = "Event loop stopped before Future completed."
"""What asyncio and uvloop say where something has called `loop.stop()`."""

T = TypeVar("T")

log = structlog.get_logger()


class MainLoop:
    """Runs a process's main coroutine, and then ends the process. Made before the site's code is imported."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._status = 0
        self._has_left_tasks = False
        atexit.register(self._leave)  # the first to register is the last to be called

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs `main` to its end. Raises what it raises, and nothing of what other tasks and callbacks raise."""
        self._loop = uvloop.new_event_loop()
        return run_until_done(self._loop, main)

    def end(self, status: int) -> NoReturn:
        """Ends the process with this status, END_SECONDS from now at the latest, whatever is left of it.

        A status of 0 is another where `note_failure` was called.
        """
        self._status = status = final_status(status)
        end_within_bound(status, self._loop)
        if self._loop is not None:
            self._has_left_tasks = run_until_done(self._loop, _wind_up(self._loop))
            if not self._has_left_tasks:
                self._loop.close()
        sys.exit(status)

    def _leave(self) -> None:
        """A task that is left is not destroyed: its code would go on for that, in an interpreter that is half gone."""
        if self._has_left_tasks:
            end_now(self._status)


def run_until_done(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on the loop, in this thread.

    A task that ends by SystemExit or KeyboardInterrupt stops its loop, though whatever awaits the task gets the
    exception; `loop.stop()` stops it with a RuntimeError. The loop goes on where it stood, because the site's code does
    not end the process. A signal does, by a handler.
    """
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if task.done() or (isinstance(error, RuntimeError) and str(error) != STOPPED):
                raise
            log.error(  # noqa: TRY400
                "the site's code has stopped the event loop: the loop goes on",
                action="exit_ignored",
                **failure(error),
            )


async def _wind_up(loop: asyncio.AbstractEventLoop) -> bool:
    """Has everything that is left of the site's code clean up. Whether tasks are left all the same."""
    left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=TASKS_SECONDS)
    if left:
        log.error(
            "tasks do not end when they are cancelled: the process ends without them",
            action="tasks_left",
            tasks=names_of(left),
        )
    await loop.shutdown_asyncgens()  # the interpreter waits for threads
    return bool(left)
