"""Ending background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from relaykit.shared.process.end import names_of

REPEAT_SECONDS = 0.5
GIVE_UP_SECONDS = 5.0
"""How long a task is cancelled again and again: the site's code in it may swallow every cancellation."""

log = structlog.get_logger()


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
