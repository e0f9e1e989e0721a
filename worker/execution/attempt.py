"""One attempt: the state that the steps of its execution share, from the claim to the end of the run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from chatkit.errors import ErrorCode
from chatkit.types import (
    ClientToolCallItem,
    ErrorEvent,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    ThreadUpdatedEvent,
)

from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.runs.run import Run
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.telemetry.attempt_trace import AttemptTrace, begin_trace
from relaykit.worker.execution.telemetry.model_usage import ModelUsage
from relaykit.worker.leases.claims import Claim
from relaykit.worker.publishing.journal_writer import JournalWriter


class Attempt:
    """An attempt that can be stopped from the moment it exists."""

    __slots__ = (
        "__weakref__",
        "_cancel",
        "_on_lost",
        "begun_at",
        "claim",
        "context",
        "first_event_at",
        "given_ids",
        "is_last",
        "is_left_behind",
        "is_server_called",
        "journal",
        "last_error",
        "pending_calls",
        "producer",
        "run",
        "run_id",
        "sdk_notified",
        "stop_requested",
        "stopped",
        "store_calls",
        "trace",
        "usage",
    )

    run: Run
    """Set by the step `start`, with the journal."""
    journal: JournalWriter

    def __init__(self, run_id: str, claim: Claim | None = None) -> None:
        self.run_id = run_id
        self.claim = claim
        """What the run was claimed with, where that is known."""
        self.context: Any = None
        """The context that the site's server is called with."""
        self.stopped: Stop | None = None
        """The reason to stop, if there is one."""
        self.stop_requested: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once there is a reason."""
        self.is_last = False
        """Whether the server has forbidden another attempt."""
        self.is_server_called = False
        self.producer: asyncio.Task[None] | None = None
        """The task that runs the server, while it runs."""
        self.is_left_behind = False
        """Whether the run ends without waiting for its server, which would not stop."""
        self.sdk_notified = False
        """Whether the SDK has called the server's `handle_stream_cancelled`."""
        self.store_calls = 0
        """Calls of our store that the execution has under way."""
        self.given_ids: set[str] = set()
        """The ids that our store has made for the attempt."""
        self.last_error: ErrorEvent | None = None
        """The error that was the last of the server's events, if it was one."""
        self.pending_calls: dict[str, None] = {}
        """The client tool calls that the server has stored or shown as pending, the newest last."""
        self.begun_at = time.monotonic()
        """When the row said that the attempt has begun, by time.monotonic()."""
        self.first_event_at: float | None = None
        """When the server's first event was taken, likewise."""
        self.usage = ModelUsage()
        self.trace: AttemptTrace | None = None
        """Its span, from `begin` on; None where this process makes no traces."""
        self._on_lost: Callable[[], None] | None = None
        self._cancel: Callable[[], object] | None = None
        """The cancellation that waits for the store calls to end."""

    def begin(self, run: Run, journal: JournalWriter) -> None:
        """Notes the row, which says that the attempt has begun, and the journal that the attempt writes."""
        self.run, self.journal = run, journal
        self.begun_at = time.monotonic()
        self.trace = begin_trace(self, self.claim)
        self.when_lost(journal.close)  # what the journal has not taken by then, it never takes
        if run.cancel_requested:
            self.stop(Stop.USER)

    async def goes_on(self, runs: AttemptRuns) -> bool:
        """Whether the run is still this attempt's, as far as PostgreSQL can be asked: its lease may have lapsed."""
        if self.stopped is Stop.LOST:
            return False
        if not hasattr(self, "run"):
            return True
        try:
            row = await runs.status(self.run_id)
        except DatabaseUnavailable:
            return True  # the fences know
        return row is not None and row[1] == self.run.attempt

    @property
    def error_code(self) -> str | None:
        """The code of `last_error`."""
        if self.last_error is None:
            return None
        code = self.last_error.code
        return code.value if isinstance(code, ErrorCode) else code

    # Its stop

    def stop(self, reason: Stop) -> None:
        """Stops the attempt. The first reason stands, but for a lost lease, after which nothing may be written.

        A stop that is repeated changes nothing: cancelling again would cut short what the SDK keeps of the answer.
        """
        if self._note_stop(reason) and self.producer is not None:
            self.cancel_between_calls(self.producer.cancel)

    def overtaken(self) -> None:
        """A newer attempt has begun. The server is about to hear of that, and is not cancelled as long as it obeys."""
        self._note_stop(Stop.LOST)

    def _note_stop(self, reason: Stop) -> bool:
        if self.stopped is not None and (reason is not Stop.LOST or self.stopped is Stop.LOST):
            return False
        self.stopped = reason
        if reason is Stop.LOST and self._on_lost is not None:
            self._on_lost()
        if not self.stop_requested.done():
            self.stop_requested.set_result(None)
        return True

    def when_lost(self, call: Callable[[], None] | None) -> None:
        """Has `call` made when the lease is lost: at once, where it is."""
        self._on_lost = call
        if call is not None and self.stopped is Stop.LOST:
            call()

    def cancel_between_calls(self, cancel: Callable[[], object]) -> None:
        """Has `cancel` called when no call of our store is under way, and at once where the lease is lost.

        The SDK shows an item after it has stored it: a cancellation in between would leave it stored and unshown.
        """
        if self.store_calls and self.stopped is not Stop.LOST:
            self._cancel = cancel
        else:
            self._cancel = None
            cancel()

    def store_call_ended(self) -> None:
        self.store_calls -= 1
        if not self.store_calls and self._cancel is not None:
            # not before the server continues: the item that it has stored is shown by then
            asyncio.get_running_loop().call_soon(self._cancel_at_last)

    def server_stops(self) -> None:
        """The server ends because of the stop. A cancellation besides would cut its clean-up short."""
        self._cancel = None

    def _cancel_at_last(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            self.cancel_between_calls(cancel)

    @property
    def is_saving_partial(self) -> bool:
        """Whether what is kept of the stopped answer is being stored: that lasts as long as an outage of PostgreSQL."""
        return self.sdk_notified and self.store_calls > 0 and self.stopped is not Stop.LOST

    # Its events

    def take(self, event: ThreadStreamEvent) -> None:
        """Notes what the event says of the end, and puts it into the journal. Never waits."""
        if self.first_event_at is None:
            self.first_event_at = time.monotonic()
        # The most frequent type is asked for first, and by identity: isinstance is slow for a model of another class.
        if type(event) is ThreadItemUpdatedEvent:
            self.last_error = None
        elif isinstance(event, ErrorEvent):
            self.last_error = event
            if self.stopped is not None:
                return  # what the server made of its cancellation
        elif not isinstance(event, ThreadUpdatedEvent):
            self.last_error = None
        if isinstance(event, ThreadItemDoneEvent | ThreadItemReplacedEvent):
            self.note_stored(event.item)
        elif isinstance(event, ThreadItemRemovedEvent):
            self.pending_calls.pop(event.item_id, None)
        self.journal.put(event)

    def note_stored(self, item: ThreadItem) -> None:
        """Notes an item that the server has written, whether or not clients are shown it."""
        self.pending_calls.pop(item.id, None)
        if isinstance(item, ClientToolCallItem) and item.status == "pending":
            self.pending_calls[item.id] = None


def failed_event() -> ErrorEvent:
    """What clients are shown of a run that failed for no reason of theirs: they may ask again."""
    return ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True)
