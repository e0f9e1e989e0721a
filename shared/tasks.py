"""Background tasks: who hears of their end, and how they are ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from relaykit.shared.log import failure
from relaykit.shared.process.end import names_of

REPEAT_SECONDS = 0.5
GIVE_UP_SECONDS = 5.0
"""How long a task is cancelled again and again: the site's code in it may swallow every cancellation."""

log = structlog.get_logger()


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What the task, which has ended, ended with: a CancelledError too, with its place. None where it has returned."""
    try:
        task.result()
    except BaseException as error:
        return error
    return None


@contextmanager
def supervised(
    tasks: Sequence[asyncio.Task[Any]], tell: Callable[[dict[str, object]], None]
) -> Iterator[None]:
    """`tell` is called with what a log line says of it, where a task fails, or ends in any way within the block."""
    is_ending = False

    def on_end(task: asyncio.Task[Any]) -> None:
        error = error_of(task)
        if not is_ending or (error is not None and not task.cancelled()):
            tell({} if error is None else failure(error))

    for task in tasks:
        task.add_done_callback(on_end)
    try:
        yield
    finally:
        is_ending = True


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks until they have ended, whatever they end with; those that do not are left behind.

    Once is not enough: asyncio.wait_for, through which redis-py sends, drops in Python 3.11 a cancellation that comes
    together with its result.
    """
    ending = set(tasks)
    pending, seconds = ending, 0.0
    while pending and seconds < GIVE_UP_SECONDS:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=REPEAT_SECONDS)
        seconds += REPEAT_SECONDS
    if pending:
        log.error(
            "tasks do not end when they are cancelled: they are left behind",
            action="tasks_left",
            tasks=names_of(pending),
        )
    await asyncio.gather(*ending - pending, return_exceptions=True)
