"""The time that a task may keep the event loop for itself."""

from __future__ import annotations

import asyncio
import time

SLICE_SECONDS = 0.005


class TimeSlice:
    """For one task: while it does not wait, all other tasks of the loop do."""

    __slots__ = ("_began_at", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began_at: float | None = None
        """When the task was first seen in this iteration of the loop."""

    def is_used_up(self) -> bool:
        """Whether the task has had SLICE_SECONDS of this iteration and should let the loop go on to the others."""
        now = time.monotonic()
        if self._began_at is None:
            self._began_at = now
            self._loop.call_soon(self._begin)  # not run before the loop goes on
            return False
        return now - self._began_at >= SLICE_SECONDS

    def _begin(self) -> None:
        self._began_at = None
