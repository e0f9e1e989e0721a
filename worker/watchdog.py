"""The watchdog: finds, from another thread, the call in which an event loop stands still, and names it.

Each look posts a tick to the loop. Where a tick has not been run, the task that the loop stands in is the one that
keeps it. Several such calls one after the other are several: only one that lasts by itself is held against its run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any
from weakref import ref

import structlog

from worker.blocked_call import Call, call_of
from worker.current_run import run_of
from worker.metrics import BLOCKED, BLOCKED_SECONDS

TICK_SECONDS = 0.5
NAMED_AFTER_SECONDS = 1.0
PAUSE_SECONDS = 0.5
"""By so much the watchdog itself has to be late for its process to have been paused, or its interpreter held."""
HELD_SHARE = 0.5
"""Of such a pause, spent on the CPU: then a call held the interpreter. A frozen process spends nothing."""

log = structlog.get_logger()


@dataclass(slots=True)
class Block:
    """A call in which the loop stands still: since when, by time.monotonic(), and of which run."""

    run_id: str | None
    call: Call
    since: float
    counted_until: float


class Watchdog:
    """Watches the loop that runs in the thread that makes it; the rest is run by that of another thread."""

    def __init__(self) -> None:
        self.block: Block | None = None
        """The call that was named and has not returned."""
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._answered_at: float | None = time.monotonic()
        """When the last tick was run; None while it was not."""
        self._task: ref[asyncio.Task[Any]] | None = None
        self._since = time.monotonic()
        """Since when the loop stands in the task, where the tick is not answered."""

    @property
    def blocked_seconds(self) -> float:
        """How long the loop has stood still in one call; 0 while it does not."""
        block = self.block
        return 0.0 if block is None else time.monotonic() - block.since

    async def sleep(self) -> None:
        """Until the next look. A pause of the whole process is not held against the loop."""
        asleep_at, used = time.monotonic(), time.process_time()
        await asyncio.sleep(TICK_SECONDS)
        paused_seconds = time.monotonic() - asleep_at - TICK_SECONDS
        if paused_seconds < PAUSE_SECONDS or time.process_time() - used > HELD_SHARE * paused_seconds:
            return
        if paused_seconds >= NAMED_AFTER_SECONDS:
            log.warning("the process was paused", action="process_paused", seconds=round(paused_seconds, 1))
        self._since += paused_seconds
        if self.block is not None:
            self.block.since += paused_seconds
            self.block.counted_until += paused_seconds

    def look(self) -> None:
        """Posts a tick where the last one was run; else finds the call that blocks the loop, and logs it once."""
        now = time.monotonic()
        if self._answered_at is not None:
            self._end_block(self._answered_at)
            self._answered_at, self._task, self._since = None, None, now
            self.loop.call_soon_threadsafe(self._answer)
            return
        task = asyncio.current_task(self.loop)
        if self._task is not None and self._task() is not task:
            self._end_block(now)
            self._since = now
        self._task = None if task is None else ref(task)
        if self.block is not None:
            self._count(self.block, now)
        elif now - self._since >= NAMED_AFTER_SECONDS:
            self._begin_block(task, now)

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _begin_block(self, task: asyncio.Task[Any] | None, now: float) -> None:
        run_id = None if task is None else run_of(task)
        self.block = Block(run_id, call_of(self._thread_id), self._since, self._since)
        BLOCKED.inc()
        self._count(self.block, now)
        log.warning("a call blocks the event loop", action="loop_blocked", **described(self.block, now))

    def _end_block(self, ended_at: float) -> None:
        if self.block is not None:
            self._count(self.block, ended_at)
            log.warning("the call has returned", action="loop_unblocked", **described(self.block, ended_at))
            self.block = None

    def _count(self, block: Block, until: float) -> None:
        BLOCKED_SECONDS.inc(max(0.0, until - block.counted_until))
        block.counted_until = max(until, block.counted_until)


def described(block: Block, now: float) -> dict[str, object]:
    """What a line of the log says of it."""
    return {
        "run_id": block.run_id,
        "place": block.call.place,
        "frames": block.call.frames,
        "seconds": round(now - block.since, 1),
    }
