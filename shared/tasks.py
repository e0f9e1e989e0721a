"""Ending background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

REPEAT_SECONDS = 0.5


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks until they have ended, whatever they end with.

    Once is not enough: asyncio.wait_for, through which redis-py sends, drops in Python 3.11 a cancellation that comes
    together with its result.
    """
    ending = set(tasks)
    pending = ending
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=REPEAT_SECONDS)
    await asyncio.gather(*ending, return_exceptions=True)
