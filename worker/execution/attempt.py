"""One attempt: the run half of a request, executed by the user's server into the run's journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, assert_never, cast

import structlog
from chatkit.actions import Action
from chatkit.errors import ErrorCode
from chatkit.store import NotFoundError, Store
from chatkit.types import (
    ClientToolCallItem,
    ErrorEvent,
    Page,
    StreamOptionsEvent,
    StructuredInputItem,
    Thread,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    ThreadUpdatedEvent,
    UserMessageItem,
    WidgetItem,
)
from pydantic import TypeAdapter

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import DatabaseUnavailable, Fenced, Stopping
from relaykit.shared.log import failure
from relaykit.shared.runs.run import Kind, Run
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.store import ITEM, read_thread
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.server_events import Prepared, ServerEvents
from relaykit.worker.execution.stop import Stop, StopState, current_stop, executing
from relaykit.worker.publishing.publisher import RunJournal

Events = AsyncGenerator[ThreadStreamEvent, None]

STOP_AGAIN_SECONDS = 5.0
"""A server that has not ended this long after it was cancelled is cancelled again."""
CANCELLATIONS = 2
"""After this many cancellations the run ends without waiting for the server."""

_ACTION: TypeAdapter[Action[str, Any]] = TypeAdapter(Action[str, Any])

log = structlog.get_logger()


class Attempt:
    """An attempt that can be stopped from the moment it exists."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.last_error: ErrorEvent | None = None
        """The error that the stream ended with, if it did."""
        self.pending_call: str | None = None
        """The client tool call that the stream ended with, if it did: its last whole item."""
        self.is_last = False
        """Whether the server has forbidden another attempt."""
        self.number: int | None = None
        """Of an attempt whose row says that it has begun, once that is known here."""
        self.began = False
        """Whether the server was called."""
        self._state = StopState()
        self._producer: asyncio.Task[None] | None = None

    @property
    def stopped(self) -> Stop | None:
        return self._state.reason

    def stop(self, reason: Stop) -> None:
        """Stops the attempt. The first reason stands, but for a lost lease, after which nothing may be written.

        A stop that is repeated changes nothing: cancelling again would cut short what the SDK keeps of the answer.
        """
        if self._state.stop(reason) and self._producer is not None:
            self._state.cancel_between_calls(self._producer.cancel)

    def overtaken(self) -> None:
        """A newer attempt has begun. The server is about to hear of that, and is not cancelled as long as it obeys."""
        self._state.stop(Stop.LOST)

    def when_lost(self, call: Callable[[], None] | None) -> None:
        """Has `call` made when the lease is lost: at once, where it is."""
        self._state.when_lost(call)

    async def goes_on(self, runs: AttemptRuns) -> bool:
        """Whether the run is still its own, as far as PostgreSQL can be asked: its lease may have lapsed."""
        if self._state.reason is Stop.LOST:
            return False
        if self.number is None:
            return True
        try:
            row = await runs.status(self.run_id)
        except DatabaseUnavailable:
            return True  # the fences know
        return row is not None and row[1] == self.number

    async def prepare(self, run: Run, user: UserServer, context: Any) -> Prepared:
        """Loads what the run half is called with. Raises what the server's store raises."""
        self.number = run.attempt
        with site_code, executing(self._state):
            thread, item = _loaded(user, run, context) or await _load(user.server.store, run, context)
        if run.kind is Kind.CREATE:
            thread = Thread(**thread.model_dump(), items=Page())
        return _prepared(run, user, thread, item, context)

    async def execute(
        self, prepared: Prepared, run: Run, user: UserServer, context: Any, journal: RunJournal
    ) -> None:
        """Runs the server to its end, or until it is stopped; every event is then in the journal.

        Raises Fenced, and what the server's store raises outside the SDK's own handling.
        """
        with site_code, executing(self._state):
            await self._execute(prepared, run, user, context, journal)

    async def _execute(
        self, prepared: Prepared, run: Run, user: UserServer, context: Any, journal: RunJournal
    ) -> None:
        server, thread = user.server, prepared.thread

        async def produce() -> None:
            current_stop.set(self._state)
            with site_code:  # nothing else may end the task: the loop would end with it
                events = ServerEvents(self.run_id, user, prepared, context, self._state, journal).read()
                shown = cast(Events, server._process_events(thread, context, lambda: events))
                async with aclosing(events), aclosing(shown):  # both end in this task, the SDK's first
                    options = await anext(shown)
                    if not _was_admitted(options, run):
                        self._take(options, journal)
                    async for event in shown:
                        self._take(event, journal)

        complete = False
        if self._state.reason is None:
            self.began = True
            producer = self._producer = asyncio.create_task(produce(), name=f"produce {run.id}")
            try:
                complete = await self._finished(producer, journal)
            finally:
                if producer.done():
                    # its context has the caller's, which knows this attempt: the three would wait for the collector
                    self._producer = None
        if self._state.reason is Stop.USER and not self._state.told and not complete:
            await server.handle_stream_cancelled(thread, [], context)

    def _take(self, event: ThreadStreamEvent, journal: RunJournal) -> None:
        # The most frequent type is asked for first, and by identity: isinstance is slow for a model of another class.
        if type(event) is ThreadItemUpdatedEvent:
            self.last_error = None
        elif isinstance(event, ErrorEvent):
            self.last_error = event
            if self._state.reason is not None:
                return  # what the server made of its cancellation
        elif not isinstance(event, ThreadUpdatedEvent):
            self.last_error = None
        if isinstance(event, ThreadItemDoneEvent) or (
            isinstance(event, ThreadItemReplacedEvent) and event.item.id == self.pending_call
        ):
            self.pending_call = event.item.id if _is_pending_call(event.item) else None
        elif isinstance(event, ThreadItemRemovedEvent) and event.item_id == self.pending_call:
            self.pending_call = None
        journal.put(event)

    async def _finished(self, producer: asyncio.Task[None], journal: RunJournal) -> bool:
        """Whether the server came to its own end: before a stop was heard, or in spite of it."""
        first: list[asyncio.Future[Any]] = [producer, journal.refused, self._state.asked]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if journal.refused.done():
            self.stop(Stop.LOST)
        if not await self._ended(producer):
            return False
        try:
            await producer
        except asyncio.CancelledError:
            if self._state.reason is None:
                # the server cancelled itself: no stop was asked for, and its answer is not whole
                self.last_error = _interrupted()
                journal.put(self.last_error)
        except (Fenced, Stopping):
            self.stop(Stop.LOST)
        except Exception as error:
            if self._state.reason is Stop.USER and isinstance(error, NotFoundError):
                raise  # the thread was deleted
            log.error(  # noqa: TRY400
                "executing the run failed: the run ends",
                action="run_failed",
                run_id=self.run_id,
                **failure(error),
            )
            if self._state.reason is None:  # else it is what the server made of the stop
                self.last_error = _interrupted()
                journal.put(self.last_error)
        else:
            return self._state.reason is None or self.last_error is None
        return False

    async def _ended(self, producer: asyncio.Task[None]) -> bool:
        """Waits for the end of a server that is done or was cancelled; False where it has to be left behind.

        What is kept of a stopped answer is not cut short: it waits for PostgreSQL, as the end of the run would.
        """
        cancellations = 0
        while cancellations < CANCELLATIONS:
            if not producer.done():
                await asyncio.wait({producer}, timeout=STOP_AGAIN_SECONDS)
            if producer.done():
                return True
            if not self._state.keeping:
                producer.cancel()
                cancellations += 1
        log.error(
            "the server does not stop: the run ends without waiting for it",
            action="attempt_left_behind",
            run_id=self.run_id,
        )
        self._state.left_behind = True
        producer.add_done_callback(_forget)
        return False


def _loaded(user: UserServer, run: Run, context: Any) -> tuple[ThreadMetadata, ThreadItem] | None:
    """What came with the row of a first attempt: the message that is to be answered is the anchor."""
    if not user.is_store_ours or run.attempt > 1 or run.anchor_item_id != run.input.get("item_id"):
        return None
    if run.thread is None or run.anchor is None:
        return None
    return read_thread(run.thread_id, run.thread, context), ITEM.validate_json(run.anchor)


async def _load(store: Store[Any], run: Run, context: Any) -> tuple[ThreadMetadata, ThreadItem | None]:
    """The thread, and the item that the run is about, where it is about a stored one."""
    item_id = run.input.get("item_id")
    thread = store.load_thread(run.thread_id, context)
    if not item_id:
        return await thread, None
    return await asyncio.gather(thread, store.load_item(run.thread_id, item_id, context))


def _prepared(
    run: Run, user: UserServer, thread: ThreadMetadata, item: ThreadItem | None, context: Any
) -> Prepared:
    server = user.server
    match run.kind:
        case Kind.CREATE | Kind.MESSAGE | Kind.RETRY:
            if not isinstance(item, UserMessageItem):
                raise TypeError("the run's input is not a user message")
            return Prepared(thread, lambda: server.respond(thread, item, context))
        case Kind.CLIENT_TOOL_OUTPUT:
            return Prepared(thread, lambda: server.respond(thread, None, context))
        case Kind.STRUCTURED_INPUT:
            answered = ThreadItemReplacedEvent(item=StructuredInputItem.model_validate(run.input["item"]))
            return Prepared(thread, lambda: server.respond(thread, None, context), answered)
        case Kind.ACTION:
            if item is not None and not isinstance(item, WidgetItem):
                raise TypeError("the sender of the action is not a widget")
            action = _ACTION.validate_python(run.input["action"])
            return Prepared(thread, lambda: server.action(thread, action, item, context))
        case _:
            assert_never(run.kind)


def _is_pending_call(item: ThreadItem) -> bool:
    return isinstance(item, ClientToolCallItem) and item.status == "pending"


def _was_admitted(event: ThreadStreamEvent, run: Run) -> bool:
    """Whether the SDK's own first event says what admission has written already."""
    if not isinstance(event, StreamOptionsEvent):
        return False
    return event.stream_options.model_dump() == run.input.get("stream_options")


def _forget(producer: asyncio.Task[None]) -> None:
    if not producer.cancelled():
        producer.exception()


def _interrupted() -> ErrorEvent:
    return ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True)
