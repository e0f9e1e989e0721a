"""For how long the site's async context managers are entered: from before a process is ready until it has drained."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, Generic, TypeVar

import structlog

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import ServerLoadError
from relaykit.shared.log import failure
from relaykit.shared.process.end import final_status, note_failure
from relaykit.shared.process.exit import end_now
from relaykit.shared.site.attributes import describe_error, site_place
from relaykit.shared.tasks import error_of

LEAVE_SECONDS: Final = 5.0
"""How long the site's code may take to leave, before the process ends without it."""
CANCEL_SECONDS: Final = 1.0
"""How long a task that is late has to end, once it is cancelled."""
BLOCKED_STATUS: Final = 2

T = TypeVar("T")

log = structlog.get_logger()


@contextmanager
def in_words_of(label: str) -> Iterator[None]:
    """What the site's code raises in the block leaves it as ServerLoadError, with the setting and the place.

    A cancellation too: only a Lifetime that gives up waiting cancels.
    """
    try:
        yield
    except ServerLoadError:
        raise
    except BaseException as error:
        task = _current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            place = site_place(traceback.extract_tb(error.__traceback__))
            raise ServerLoadError(f"{label}: is not ready after LIFESPAN_SECONDS{_at(place)}") from error
        raise ServerLoadError(f"{label}: {describe_error(error)}") from error


class Lifetime(Generic[T]):
    """One async context manager, entered and left in one task of the loop that runs the site's code."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[T]], enter_seconds: float) -> None:
        self._opened = opened
        self.enter_seconds = enter_seconds
        self._task: asyncio.Task[None]
        self._leaving: asyncio.Event
        self._entered: asyncio.Future[T]

    async def enter(self) -> T:
        """What the context manager gives. Raises ServerLoadError where it fails, or takes longer than it may."""
        self._leaving = asyncio.Event()
        self._entered = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live())
        waited_for: set[asyncio.Future[object]] = {self._task, self._entered}  # type: ignore[arg-type]
        try:
            await asyncio.wait(waited_for, timeout=self.enter_seconds, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if not self._entered.done() and not self._task.done():
            self._leaving.set()  # one that swallows this, and is entered later, leaves at once
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_SECONDS)
            if not self._task.done():
                raise ServerLoadError(
                    "the site's code is not ready after LIFESPAN_SECONDS, and does not end when it is cancelled"
                )
        if self._entered.done() and not self._leaving.is_set():
            self._task.add_done_callback(self._end_process_if_left)
            return self._entered.result()
        if (error := error_of(self._task)) is not None:
            raise (
                error if isinstance(error, ServerLoadError) else ServerLoadError(describe_error(error))
            ) from error
        raise ServerLoadError(
            "the site's code is not ready after LIFESPAN_SECONDS: it swallows its cancellation"
        )

    async def leave(self) -> None:
        """Has the context manager left, and says what of it failed or takes longer than LEAVE_SECONDS."""
        self._leaving.set()
        await asyncio.wait({self._task}, timeout=LEAVE_SECONDS)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CANCEL_SECONDS)
            error = error_of(self._task) if self._task.done() else None
            log.error(
                "the site's lifespan does not end: the process ends without it",
                action="lifespan_left",
                **({} if error is None else failure(error)),
            )
        elif (error := error_of(self._task)) is not None:
            log.error(
                "the end of the site's lifespan failed: the process ends all the same",
                action="lifespan_failed",
                **failure(error),
            )

    def _end_process_if_left(self, task: asyncio.Task[None]) -> None:
        """What it had opened is closed: the process takes no more work, and its supervisor starts a new one."""
        if self._leaving.is_set():
            return
        error = error_of(task)
        log.critical(
            "the site's lifespan has ended by itself: the process ends",
            action="lifespan_ended",
            **({} if error is None else failure(error)),
        )
        note_failure()
        os.kill(os.getpid(), signal.SIGTERM)  # the main thread hears it, whichever thread this is

    async def _live(self) -> None:
        with site_code:
            async with self._opened() as value:
                self._entered.set_result(value)
                await self._leaving.wait()


@asynccontextmanager
async def lived(lifetime: Lifetime[T], *, owns_process: bool) -> AsyncIterator[T]:
    """The block of a process whose main loop runs the site's code. Raises ServerLoadError.

    `owns_process`: it may end the process, where the site's code blocks that loop.
    """
    slack_seconds = 2 * CANCEL_SECONDS
    with _ends_if_blocked(lifetime.enter_seconds + slack_seconds, BLOCKED_STATUS, owns_process):
        value = await lifetime.enter()
    try:
        yield value
    finally:
        with _ends_if_blocked(LEAVE_SECONDS + slack_seconds, 0, owns_process):
            await lifetime.leave()


@contextmanager
def _ends_if_blocked(seconds: float, status: int, owns_process: bool) -> Iterator[None]:
    """Ends the process where the block of this thread takes longer: the loop itself stands, and nothing else can."""
    thread_id = threading.get_ident()

    def end() -> None:
        log.critical(
            "the site's lifespan blocks the event loop: the process ends",
            action="lifespan_blocked",
            place=place_of(thread_id),
        )
        end_now(final_status(status))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    if owns_process:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def place_of(thread_id: int) -> str | None:
    """The line of the site's code in which the thread stands."""
    frame = sys._current_frames().get(thread_id)
    return None if frame is None else site_place(traceback.extract_stack(frame))


def _at(place: str | None) -> str:
    return "" if place is None else f": it waits at {place}"


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
