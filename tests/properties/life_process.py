"""Work that is done step by step, in the order that a test wants: between two of its steps it stands at a gate."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from chatkit.store import NotFoundError

from relaykit.shared.errors import RelaykitError

Work = Callable[["Process"], Coroutine[Any, Any, Any]]


class Process:
    """Somebody's work, done up to the next gate each time that it is told to go on. Never told again, it has died."""

    def __init__(self, work: Work) -> None:
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._stands = asyncio.Event()
        self._task = asyncio.create_task(self._run(work))
        self.outcome: Any = None
        """What the work came to, once it is done: its result, or the error that is a caller's answer."""

    @property
    def done(self) -> bool:
        return self._task.done()

    async def gate(self) -> str:
        """Waits to be told to go on; with what."""
        self._stands.set()
        return await self._told.get()

    async def go_on(self, what: str = "") -> None:
        """Returns when the process stands at its next gate or is done. Raises what it did not expect."""
        if not self.done:
            self._stands.clear()
            self._told.put_nowait(what)
        await self.stands()

    async def stands(self) -> None:
        await self._stands.wait()
        if self.done:
            await self._task

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, work: Work) -> None:
        try:
            self.outcome = await work(self)
        except (RelaykitError, NotFoundError) as error:
            self.outcome = error
        finally:
            self._stands.set()


class Gated:
    """A service whose every call waits at the gate of the process that makes it."""

    def __init__(self, service: object, process: Process) -> None:
        self._service, self._process = service, process

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._service, name)
        if not inspect.iscoroutinefunction(call):
            return call

        async def gated(*args: Any, **named: Any) -> Any:
            await self._process.gate()
            return await call(*args, **named)

        return gated
