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

from relaykit.worker.execution.current_run import run_of
from relaykit.worker.keeper.blocked_call import Call, call_of
from relaykit.worker.metrics import BLOCKED, BLOCKED_SECONDS

TICK_SECONDS = 0.5
NAMED_AFTER_SECONDS = 1.0
PAUSE_SECONDS = 0.5
"""If the watchdog itself is this late, its process was paused, or its interpreter was held."""
HELD_SHARE = 0.05
"""If the process used more than this share of such a pause on the CPU, beyond what a tick may have taken, a call held
the interpreter. The host may be busy, so the share is small; a frozen process uses nothing."""

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
        self._has_looked = False
        """Whether a look has found the tick not answered, and the loop in `_task`."""
        self._task: ref[asyncio.Task[Any]] | None = None
        self._since = time.monotonic()
        """Since when the loop stands in the task, where the tick is not answered."""

    @property
    def blocked_seconds(self) -> float:
        """How long the loop has stood still in one call; 0 while it does not."""
        block = self.block
        return 0.0 if block is None else time.monotonic() - block.since

    async def look(self) -> None:
        """After a tick: finds the call that blocks the loop, if there is one, and logs it once."""
        loop = asyncio.get_running_loop()
        looked: asyncio.Future[None] = loop.create_future()
        # in the timer's own callback: the call that has held the interpreter is not left yet when this thread gets it
        loop.call_later(TICK_SECONDS, self._look_once, time.monotonic(), time.process_time(), looked)
        await looked

    def _look_once(self, asleep_at: float, used: float, looked: asyncio.Future[None]) -> None:
        if looked.cancelled():
            return
        now = time.monotonic()
        late_seconds = now - asleep_at - TICK_SECONDS
        busy_seconds = time.process_time() - used - TICK_SECONDS
        if late_seconds >= PAUSE_SECONDS and busy_seconds <= HELD_SHARE * late_seconds:
            self._pass_over(late_seconds)
            self._look(now)
        elif late_seconds >= NAMED_AFTER_SECONDS and self.block is None:
            self._name_held(now, late_seconds)
        else:
            self._look(now)
        looked.set_result(None)

    def _pass_over(self, paused_seconds: float) -> None:
        """A pause of the whole process is held against no call."""
        if paused_seconds >= NAMED_AFTER_SECONDS:
            log.warning(
                "the process was paused: no call is blamed for it",
                action="process_paused",
                seconds=round(paused_seconds, 1),
            )
        self._since += paused_seconds
        if self.block is not None:
            self.block.since += paused_seconds
            self.block.counted_until += paused_seconds

    def _name_held(self, now: float, held_seconds: float) -> None:
        """This thread could not look: a call has kept the interpreter to itself, and returns about now."""
        if self._answered_at is not None:
            self._post_tick()
        self._since = now - held_seconds
        self._stand_in(asyncio.current_task(self.loop))
        self._begin_block(now)

    def _look(self, now: float) -> None:
        if self._answered_at is not None:
            self._end_block(self._answered_at)
            self._post_tick()
            self._since, self._has_looked = now, False
            return
        task = asyncio.current_task(self.loop)
        if self._has_looked and task is not (self._task and self._task()):
            self._end_block(now)
            self._since = now
        self._stand_in(task)
        if self.block is not None:
            self.block.call = call_of(self._thread_id)
            self._count(self.block, now)
        elif now - self._since >= NAMED_AFTER_SECONDS:
            self._begin_block(now)

    def _post_tick(self) -> None:
        self._answered_at = None
        self.loop.call_soon_threadsafe(self._answer)

    def _stand_in(self, task: asyncio.Task[Any] | None) -> None:
        self._has_looked, self._task = True, None if task is None else ref(task)

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _begin_block(self, now: float) -> None:
        task = None if self._task is None else self._task()
        run_id = None if task is None else run_of(task)
        self.block = Block(run_id, call_of(self._thread_id), self._since, self._since)
        BLOCKED.inc()
        self._count(self.block, now)
        log.warning(
            "a call blocks the event loop: all runs of the worker wait for it",
            action="loop_blocked",
            **described(self.block, now),
        )

    def _end_block(self, ended_at: float) -> None:
        if self.block is not None:
            self._count(self.block, ended_at)
            log.warning(
                "the call that blocked the event loop has returned",
                action="loop_unblocked",
                **described(self.block, ended_at),
            )
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
