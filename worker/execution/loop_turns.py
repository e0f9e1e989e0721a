"""Turns of an event loop, for a task that may keep the loop for itself."""

from __future__ import annotations

import asyncio
import time

SHARE_SECONDS = 0.005


class LoopTurns:
    """For one task: while it does not wait, all other tasks of the loop do."""

    __slots__ = ("_began_at", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began_at: float | None = None
        """When the task was first seen in this turn of the loop."""

    def is_over(self) -> bool:
        """Whether the task has had SHARE_SECONDS of this turn and should let the other tasks have theirs."""
        now = time.monotonic()
        if self._began_at is None:
            self._began_at = now
            self._loop.call_soon(self._begin)  # not run before the loop goes on
            return False
        return now - self._began_at >= SHARE_SECONDS

    def _begin(self) -> None:
        self._began_at = None
