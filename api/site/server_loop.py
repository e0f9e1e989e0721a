"""The thread and the loop on which an API process runs the code of the site's server, beside the loop that relays."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import structlog
import uvloop

from relaykit.api.metrics import SERVER_BLOCKED
from relaykit.api.site.loop_watch import LOOK_SECONDS, LoopWatch
from relaykit.shared.crashes import ServerCrashed
from relaykit.shared.errors import RelaykitError, ServerBlocked, Stopping
from relaykit.shared.identity import current_in
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings

TOLD_AFTER_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 5.0
"""How long the process waits for what the server's code has begun, before it leaves that behind."""

T = TypeVar("T")

log = structlog.get_logger()


class ServerLoop:
    """One thread with one loop: clients, pools and locks of a server belong to its loop, and some things to its thread.

    A call that has not begun within CONTEXT_SECONDS raises ServerBlocked, and never begins. One that has begun raises
    it when the loop has stood in one step for BLOCKED_SECONDS; otherwise it may take as long as it likes.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._begin_seconds = settings.context_seconds
        self._blocked_seconds = settings.blocked_seconds or math.inf
        self._calls: set[_Call[Any]] = set()
        self._called = asyncio.Event()
        self._lock = threading.Lock()
        self._is_closing = False
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._watch: LoopWatch

    def load(self, build: Callable[[], T]) -> T:
        """What `build` gives, or raises, on the thread and before its loop runs. To be called once, and first."""
        loaded: Future[T] = Future()
        # no process waits at its end for a daemon
        threading.Thread(target=self._live, args=(build, loaded), name="server", daemon=True).start()
        return loaded.result()

    def _live(self, build: Callable[[], T], loaded: Future[T]) -> None:
        self._loop = uvloop.new_event_loop()
        self._watch = LoopWatch(self._loop, threading.get_ident())
        asyncio.set_event_loop(self._loop)
        try:
            built = build()
        except BaseException as error:
            self._loop.close()
            loaded.set_exception(error)
            return
        loaded.set_result(built)
        while not self._is_closing:
            try:
                self._loop.run_forever()
            except BaseException as error:  # out of a task that the server's code has left behind
                log.error(  # noqa: TRY400
                    "the server's code has stopped its event loop: the loop is started again",
                    action="exit_ignored",
                    **failure(error),
                )
        self._loop.close()
        self._ended.set()

    async def __aenter__(self) -> Self:
        """Gives the server's loop its connections to PostgreSQL. Raises ServerBlocked."""
        try:
            async with asyncio.timeout(self._begin_seconds):
                await self.call(self._database.open_for_server)
        except TimeoutError as error:
            raise ServerBlocked from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancels what is left of the server's code, and leaves behind what does not end within CLOSE_SECONDS."""
        self._is_closing = True
        for call in list(self._calls):
            call.fail(Stopping())
        with suppress(RuntimeError):  # the loop is closed: a task that was left behind has stopped it
            self._loop.call_soon_threadsafe(self._begin_to_close)
        if not await asyncio.to_thread(self._ended.wait, CLOSE_SECONDS):
            log.warning(
                "the server's code does not end: the process ends without it",
                action="server_left",
                **self._watch.place(),
            )

    def _begin_to_close(self) -> None:
        self._closing = self._loop.create_task(self._close())

    async def _close(self) -> None:
        left = asyncio.all_tasks() - {self._closing}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._database.close()
        self._loop.stop()

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, or raises, on the server's loop: in a copy of this context, whose changes come back.

        Cancelling cancels it there, and waits no longer. What it raises that is no Exception is ServerCrashed here.
        Raises ServerBlocked.
        """
        here = asyncio.get_running_loop()
        if here is self._loop:
            return await call()
        if self._is_closing:
            raise Stopping
        if self._watch.seconds >= self._begin_seconds:
            raise ServerBlocked
        posted = _Call(call, here, self._lock)
        self._calls.add(posted)
        self._called.set()
        self._loop.call_soon_threadsafe(posted.begin)
        try:
            return await posted.answer
        finally:
            self._calls.discard(posted)
            if posted.has_ended:
                posted.give_context_back()
            else:
                posted.give_up(self._loop)

    def check(self) -> None:
        """Raises ServerBlocked where the loop has stood for so long that only a new process heals it."""
        if self._watch.seconds >= self._blocked_seconds:
            raise ServerBlocked

    async def run(self) -> None:
        """Looks at the loop, while there are calls, until cancelled."""
        is_told = is_refusing = False
        while True:
            if not self._calls and self._watch.is_free:
                self._called.clear()
                await self._called.wait()
            await asyncio.sleep(LOOK_SECONDS)
            self._watch.look(asks=bool(self._calls))
            stands = self._watch.seconds
            if stands >= LOOK_SECONDS:
                SERVER_BLOCKED.inc(LOOK_SECONDS)
            if stands >= TOLD_AFTER_SECONDS and not is_told:
                is_told = True
                log.warning(
                    "a call blocks the server's loop: what needs the server's code waits",
                    action="loop_blocked",
                    **self._place(),
                )
            if stands >= self._begin_seconds and not is_refusing:
                is_refusing = True
                log.error(
                    "a call blocks the server's loop: what needs its code is refused until the call returns",
                    action="loop_blocked",
                    **self._place(),
                )
            if is_told and stands < TOLD_AFTER_SECONDS:
                is_told = is_refusing = False
                log.warning("the call that blocked the server's loop has returned", action="loop_unblocked")
            self._refuse_late_calls(stands)

    def site_place(self) -> object:
        """The line of the site's code in which the loop's thread stands."""
        return self._watch.place()["place"]

    def _refuse_late_calls(self, stands: float) -> None:
        before = time.monotonic() - self._begin_seconds
        for call in list(self._calls):
            if stands >= self._blocked_seconds or (call.posted_at < before and call.withdraw()):
                call.fail(ServerBlocked())

    def _place(self) -> dict[str, object]:
        step = self._watch.step
        request = next((call.request_id for call in self._calls if call.task is step), None)
        return {"seconds": round(self._watch.seconds, 1), "request_id": request, **self._watch.place()}


class _Call(Generic[T]):
    """One call, and what becomes of it."""

    def __init__(
        self, call: Callable[[], Awaitable[T]], here: asyncio.AbstractEventLoop, lock: threading.Lock
    ) -> None:
        self._call, self._here, self._lock = call, here, lock
        self._context: Context = copy_context()
        self._is_given_up = False
        self.posted_at = time.monotonic()
        self.answer: asyncio.Future[T] = here.create_future()
        self.task: asyncio.Task[T] | None = None

    @property
    def request_id(self) -> str | None:
        request = current_in(self._context)
        return None if request is None else request.request_id

    @property
    def has_ended(self) -> bool:
        return self.task is not None and self.task.done()

    def begin(self) -> None:
        """On the server's loop."""
        with self._lock:
            if self._is_given_up:
                return
            self.task = asyncio.get_running_loop().create_task(self._run(), context=self._context)
        self.task.add_done_callback(self._end)

    async def _run(self) -> T:
        try:
            return await self._call()
        except Exception:
            raise
        except BaseException as error:
            if self._is_given_up:
                raise
            # SystemExit would stop the loop, and a cancellation that was not asked for end the request in silence
            log.error(  # noqa: TRY400
                "the server's code failed: the request is answered with an error",
                action="server_failed",
                **failure(error),
            )
            raise ServerCrashed from error

    def _end(self, task: asyncio.Task[T]) -> None:
        with suppress(RuntimeError):  # the API's loop is closed
            self._here.call_soon_threadsafe(self._settle, task)

    def _settle(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.answer.cancel()
            return
        error = task.exception()
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())

    def give_context_back(self) -> None:
        """Sets what the call has set of this task's context, as if it had run in it."""
        for variable, value in self._context.items():
            if variable.get(None) is not value:
                variable.set(value)

    def withdraw(self) -> bool:
        """Whether the call has not begun, and never will."""
        with self._lock:
            if self.task is None:
                self._is_given_up = True
            return self.task is None

    def give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels the call, if it has begun, and does not wait for that."""
        if not self.withdraw() and self.task is not None:
            self._is_given_up = True
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.task.cancel)

    def fail(self, error: RelaykitError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
