"""Time that no test waits for: while nothing but timers can go on, the loop's clock jumps to the next of them."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

_virtual: WeakKeyDictionary[asyncio.AbstractEventLoop, _Jumps] = WeakKeyDictionary()


class _Jumps:
    """One loop's clock, and its selector, which jumps where it would have waited."""

    def __init__(self, loop: Any) -> None:
        self.users = 0
        self._loop = loop
        self._selector: selectors.BaseSelector = loop._selector
        self._select = self._selector.select
        self._time: Callable[[], float] = loop.time
        self._run_in_executor = loop.run_in_executor
        self._ahead = 0.0
        self._in_threads = 0

    def install(self) -> None:
        loop: Any = self._loop
        self._idle_files = len(self._selector.get_map())
        loop.time = self._now
        loop.run_in_executor = self._counted
        self._selector.select = self._jump  # type: ignore[method-assign]

    def remove(self) -> None:
        """The clock keeps what it is ahead: timers that were set stay as far away as they are."""
        loop: Any = self._loop
        loop.run_in_executor = self._run_in_executor
        self._selector.select = self._select  # type: ignore[method-assign]

    def _now(self) -> float:
        return self._time() + self._ahead

    def _jump(self, timeout: float | None = None) -> Any:
        """Sockets, pipes and threads go on in real time, and so does the clock while the loop waits for any of them."""
        waits_for_others = self._in_threads or len(self._selector.get_map()) > self._idle_files
        if timeout is None or timeout <= 0 or waits_for_others:
            return self._select(timeout)
        ready = self._select(0)
        if not ready:
            self._ahead += timeout
        return ready

    def _counted(self, *arguments: Any) -> Any:
        future = self._run_in_executor(*arguments)
        self._in_threads += 1
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: object) -> None:
        self._in_threads -= 1


@contextmanager
def virtual_time() -> Iterator[None]:
    """In the block, sleeps and timers of the running loop take no time where nothing else could go on meanwhile.

    `asyncio.sleep(3600)` returns at once, and a server that waits for ever meets its time-out at once. What waits for a
    socket, a process or a thread of `asyncio.to_thread` takes its real time. `time.time()` and `time.sleep()` are not
    changed. Blocks may overlap. Raises RuntimeError on a loop that is not asyncio's own, such as uvloop's.
    """
    loop = asyncio.get_running_loop()
    jumps = _virtual.get(loop)
    if jumps is None:
        if not isinstance(loop, asyncio.SelectorEventLoop):
            kind = f"{type(loop).__module__}.{type(loop).__name__}"
            raise RuntimeError(
                f"virtual time needs asyncio's own event loop, not {kind}: pass virtual_time=False"
            )
        jumps = _virtual[loop] = _Jumps(loop)
    if jumps.users == 0:
        jumps.install()
    jumps.users += 1
    try:
        yield
    finally:
        jumps.users -= 1
        if jumps.users == 0:
            jumps.remove()
