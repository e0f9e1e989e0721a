"""Why an attempt stops before its end, and what of it is kept.

The SDK knows one reason for a cancelled stream, the user's stop, and stores a note that says so. A time-out, a drain
and a lost lease are not that: `guard` gives each what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import AssistantMessageItem, ThreadItem, ThreadMetadata

from relaykit.shared.errors import Fenced, Stopping


class Stop(StrEnum):
    USER = "user"
    """The user's stop: the partial answer and the SDK's note are kept."""
    TIMEOUT = "timeout"
    """RUN_TIMEOUT_SECONDS are over: the partial answer is kept, without a note that the user stopped it."""
    ABANDONED = "abandoned"
    """No client has followed the run for ABANDON_SECONDS: the partial answer is kept, as after a time-out."""
    DRAIN = "drain"
    """The worker drains: the run is handed back, and its next attempt begins anew. The partial answer is kept till
    then, because a stop may come before."""
    LOST = "lost"
    """The lease is another worker's: nothing may be written."""


class StopState:
    """One attempt's reason to stop, if there is one, and what came of it."""

    __slots__ = ("_cancel", "_on_lost", "asked", "left_behind", "reason", "store_calls", "told")

    def __init__(self) -> None:
        self.reason: Stop | None = None
        self.asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once there is a reason."""
        self.told = False
        """Whether the SDK has been told."""
        self.left_behind = False
        """Whether the run went on to its end without a server that would not stop."""
        self.store_calls = 0
        """Calls of our store that the execution has under way."""
        self._on_lost: Callable[[], None] | None = None
        self._cancel: Callable[[], object] | None = None
        """Waits for the store calls to end."""

    def stop(self, reason: Stop) -> bool:
        """Notes the reason; False where it changes nothing.

        The first reason stands, but for a lost lease, after which nothing may be written.
        """
        if self.reason is not None and (reason is not Stop.LOST or self.reason is Stop.LOST):
            return False
        self.reason = reason
        if reason is Stop.LOST and self._on_lost is not None:
            self._on_lost()
        if not self.asked.done():
            self.asked.set_result(None)
        return True

    def when_lost(self, call: Callable[[], None] | None) -> None:
        """Has `call` made when the lease is lost: at once, where it is."""
        self._on_lost = call
        if call is not None and self.reason is Stop.LOST:
            call()

    def cancel_between_calls(self, cancel: Callable[[], object]) -> None:
        """Has `cancel` called when no call of our store is under way, and at once where the lease is lost.

        The SDK shows an item after it has stored it: a cancellation in between would leave it stored and unshown.
        """
        if self.store_calls and self.reason is not Stop.LOST:
            self._cancel = cancel
        else:
            self._cancel = None
            cancel()

    def store_call_ended(self) -> None:
        self.store_calls -= 1
        if not self.store_calls and self._cancel is not None:
            # not before the server has gone on: what it was called for is shown by then
            asyncio.get_running_loop().call_soon(self._cancel_at_last)

    def is_heard(self) -> None:
        """The server hears of the stop by itself: a cancellation besides would cut short what it cleans up."""
        self._cancel = None

    def _cancel_at_last(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            self.cancel_between_calls(cancel)

    @property
    def keeping(self) -> bool:
        """Whether what is kept of the stopped answer is being stored: that lasts as long as an outage of PostgreSQL."""
        return self.told and self.store_calls > 0 and self.reason is not Stop.LOST


current_stop: ContextVar[StopState | None] = ContextVar("relaykit_stop", default=None)
"""Set only in the task that runs the server."""

_executing: ContextVar[StopState | None] = ContextVar("relaykit_executing", default=None)


@contextmanager
def executing(state: StopState) -> Iterator[None]:
    """What is done in the block, and by the tasks that it starts, belongs to the attempt's execution."""
    token = _executing.set(state)
    try:
        yield
    finally:
        _executing.reset(token)


def is_executing() -> bool:
    """Whether the task executes an attempt that still has its lease."""
    state = _executing.get()
    return state is not None and state.reason is not Stop.LOST


@contextmanager
def calling_store() -> Iterator[None]:
    """The block is a call of our store: the attempt that it belongs to knows of it.

    Where the fence refuses the call, or this process has closed its database, the attempt is lost before the server
    hears of it, so that no event that is made of the refusal is shown. The server is not cancelled for that: it is
    unwinding already.
    """
    state = _executing.get()
    if state is None:
        yield
        return
    state.store_calls += 1
    try:
        yield
    except (Fenced, Stopping):
        state.stop(Stop.LOST)
        raise
    finally:
        state.store_call_ended()


def guard(server: ChatKitServer[Any]) -> None:
    """Makes `server.handle_stream_cancelled` heed the reason of the attempt it is called in."""
    original = server.handle_stream_cancelled

    async def handle_stream_cancelled(
        thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
    ) -> None:
        state = current_stop.get()
        if state is None:
            await original(thread, pending_items, context)
            return
        state.told = True
        if state.left_behind:
            return
        match state.reason:
            case Stop.USER | None:
                await original(thread, pending_items, context)
            case Stop.TIMEOUT | Stop.ABANDONED | Stop.DRAIN:
                await _keep_partial(server, thread, pending_items, context)
            case Stop.LOST:
                pass

    server.handle_stream_cancelled = handle_stream_cancelled  # type: ignore[method-assign]


async def _keep_partial(
    server: ChatKitServer[Any], thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
) -> None:
    for item in pending_items:
        if isinstance(item, AssistantMessageItem) and any(part.text.strip() for part in item.content):
            await server.store.add_thread_item(thread.id, item, context=context)
