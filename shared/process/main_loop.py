"""The event loop of a process: what ends its main task, and what does not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import structlog
import uvloop

from relaykit.shared.log import failure
from relaykit.shared.process.end import end_within_bound, final_status, names_of
from relaykit.shared.process.exit import exit_process

TASKS_SECONDS = 2.0
"""This much of END_SECONDS is for the tasks that are left to clean up."""

STOPPED = "Event loop stopped before Future completed."
"""What asyncio and uvloop say where something has called `loop.stop()`."""

T = TypeVar("T")

log = structlog.get_logger()


class MainLoop:
    """Runs a process's main coroutine, and then ends the process."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: list[Callable[[], None]] = []

    def run(self, main: Coroutine[Any, Any, T], *, cancels_at_ctrl_c: bool = False) -> T:
        """Runs `main` to its end. Raises what it raises, and nothing of what other tasks and callbacks raise."""
        self._loop = uvloop.new_event_loop()
        return run_until_done(self._loop, main, cancels_at_ctrl_c=cancels_at_ctrl_c)

    def at_end(self, call: Callable[[], None]) -> None:
        """Has `end` call it, within the bound of the process's end. It may wait, and does not raise."""
        self._ends.append(call)

    def end(self, status: int) -> NoReturn:
        """Ends the process with this status, END_SECONDS from now at the latest, whatever is left of it.

        A status of 0 is another where `note_failure` was called.
        """
        status = final_status(status)
        end_within_bound(status, self._loop)
        if self._loop is not None:
            has_left_tasks = run_until_done(self._loop, _wind_up(self._loop))
            if not has_left_tasks:  # a task that is left is not destroyed: its code would go on for that
                self._loop.close()
        for call in self._ends:
            call()
        exit_process(status)


def run_until_done(
    loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T], *, cancels_at_ctrl_c: bool = False
) -> T:
    """Runs `main` to its end on the loop, in this thread.

    A task that ends by SystemExit or KeyboardInterrupt stops its loop, though whatever awaits the task gets the
    exception; `loop.stop()` stops it with a RuntimeError. The loop goes on where it stood, because the site's code does
    not end the process. A signal does, by a handler: one of `main` itself, or with `cancels_at_ctrl_c` one that cancels
    it, and is there before anything of it runs.
    """
    task = loop.create_task(main)
    cancels_at_ctrl_c = cancels_at_ctrl_c and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if cancels_at_ctrl_c:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return _run_until_done(loop, task)
    finally:
        if cancels_at_ctrl_c:
            loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def raising_at_ctrl_c(task: asyncio.Task[Any]) -> Iterator[None]:
    """For a block of a main task that waits without its loop, which a cancellation would not wake: Ctrl-C raises
    KeyboardInterrupt in it, where it would have cancelled the task.
    """
    loop = task.get_loop()
    is_removed = loop.remove_signal_handler(signal.SIGINT)
    yield
    if is_removed:  # and the block has not failed: the loop has yet to read of the Ctrl-C that has ended it
        loop.add_signal_handler(signal.SIGINT, task.cancel)


def _run_until_done(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
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
