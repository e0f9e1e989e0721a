"""What the site's code raises that is no Exception: a panic of an extension module, SystemExit, KeyboardInterrupt.

And a CancelledError that nobody has asked for, such as an awaited task gives that a library has cancelled.

It is that code's failure as any other. As an Exception it ends the request or the run that it belongs to, and nothing
else: asyncio lets SystemExit and KeyboardInterrupt out of the event loop, and `except Exception` misses them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class ServerCrashed(Exception):
    """The site's code raised what is no Exception: `__cause__`."""


class _SiteCode:
    def __init__(self, *, passes_cancellations: bool) -> None:
        self._passes_cancellations = passes_cancellations

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            return
        if isinstance(error, asyncio.CancelledError) and (
            self._passes_cancellations or _is_being_cancelled()
        ):
            return
        raise ServerCrashed from error


def _is_being_cancelled() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs
        return False
    return task is not None and task.cancelling() > 0


site_code = _SiteCode(passes_cancellations=False)
"""`with site_code:` has what is no Exception leave the block as ServerCrashed.

A CancelledError leaves it as it is where the task is being cancelled, and as ServerCrashed where it is not.
Not around a `yield` of an async generator of ours, which is closed by GeneratorExit.
"""
cancellable_site_code = _SiteCode(passes_cancellations=True)
"""The same for the body of a task whose owner knows whether it has asked for the end: each CancelledError passes."""


async def hear_cancellation() -> None:
    """Raises the cancellation that the site's code has left for the next wait of its task, maybe one of ours."""
    if _is_being_cancelled():
        await asyncio.sleep(0)


async def in_own_task(call: Callable[[], Awaitable[T]]) -> T:
    """What the call of the site's code gives, or raises, from a task of its own: code that cancels the task in which
    it runs, as a leaked cancel scope does, cancels nothing else.

    What the call sets of the context comes back. Cancelling the caller's task cancels that one. Raises ServerCrashed as
    `site_code` does, and where the call has cancelled itself.
    """

    async def called() -> T:
        with site_code:  # SystemExit in a task would stop the loop
            return await call()

    context = copy_context()
    try:
        with site_code:
            return await asyncio.create_task(called(), context=context)
    finally:
        for variable, value in context.items():
            if variable.get(None) is not value:
                variable.set(value)
