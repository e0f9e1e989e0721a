"""The step that runs the server: its events go into the journal until they end or the attempt is stopped.

One task runs the server, and a stop cancels that task. Two cancellations are as much as a server is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import structlog
from chatkit.store import NotFoundError
from chatkit.types import ErrorEvent, StreamOptionsEvent, ThreadStreamEvent

from relaykit.shared.crashes import cancellable_site_code, site_code
from relaykit.shared.errors import Fenced, Stopping
from relaykit.shared.log import failure
from relaykit.shared.runs.run import Run
from relaykit.shared.site.user_server import UserServer
from relaykit.worker.execution.attempt import Attempt, failed_event
from relaykit.worker.execution.current_attempt import executing, served_attempt
from relaykit.worker.execution.server_events import Prepared, ServerEvents
from relaykit.worker.execution.stop import Stop

Events = AsyncGenerator[ThreadStreamEvent, None]

STOP_AGAIN_SECONDS = 5.0
"""A server that has not ended this long after it was cancelled is cancelled again."""
CANCELLATIONS = 2
"""After this many cancellations the run ends without waiting for the server."""

log = structlog.get_logger()


async def produce(attempt: Attempt, user: UserServer, prepared: Prepared) -> None:
    """Runs the server to its end, or until it is stopped; every event is then in the journal's hands.

    Raises Fenced, and what the server's store raises outside the SDK's own handling.
    """
    with site_code, executing(attempt):
        is_complete = False
        if attempt.stopped is None:
            attempt.is_server_called = True
            producer = asyncio.create_task(_serve(attempt, user, prepared), name=f"produce {attempt.run_id}")
            attempt.producer = producer
            try:
                is_complete = await _completed(attempt, producer)
            finally:
                if producer.done():
                    # its context has the caller's, which knows this attempt: the three would wait for the collector
                    attempt.producer = None
        if attempt.stopped is Stop.USER and not attempt.sdk_notified and not is_complete:
            await user.server.handle_stream_cancelled(prepared.thread, [], attempt.context)


async def _serve(attempt: Attempt, user: UserServer, prepared: Prepared) -> None:
    """The producer: what the SDK makes of the server's events goes into the journal."""
    served_attempt.set(attempt)
    with cancellable_site_code:  # nothing else may end the task: the loop would end with it
        reader = ServerEvents(attempt, user, prepared)
        events = reader.read()
        processed = user.server._process_events(prepared.thread, attempt.context, lambda: events)
        shown = cast(Events, processed)
        async with aclosing(events), aclosing(shown):  # both end in this task, the SDK's first
            options = await anext(shown)
            if not _was_admitted(options, attempt.run):
                attempt.take(options)
            async for event in shown:
                attempt.take(reader.with_text(event) if type(event) is ErrorEvent else event)


async def _completed(attempt: Attempt, producer: asyncio.Task[None]) -> bool:
    """Whether the server came to its own end: before it noticed a stop, or in spite of one."""
    journal = attempt.journal
    first: list[asyncio.Future[Any]] = [producer, journal.refused, attempt.stop_requested]
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if journal.refused.done():
        attempt.stop(Stop.LOST)
    if not await _has_ended(attempt, producer):
        return False
    try:
        await producer
    except asyncio.CancelledError as error:
        if attempt.stopped is None:
            # the server cancelled itself: no stop was asked for, and its answer is not whole
            _report(attempt, error)
            attempt.take(failed_event())
    except (Fenced, Stopping):
        attempt.stop(Stop.LOST)
    except Exception as error:
        if attempt.stopped is Stop.USER and isinstance(error, NotFoundError):
            raise  # the thread was deleted
        _report(attempt, error)
        if attempt.stopped is None:  # else it is what the server made of the stop
            attempt.take(failed_event())
    else:
        return attempt.stopped is None or attempt.last_error is None
    return False


def _report(attempt: Attempt, error: BaseException) -> None:
    log.error(
        "executing the run failed: the run ends",
        action="run_failed",
        run_id=attempt.run_id,
        **failure(error),
    )


async def _has_ended(attempt: Attempt, producer: asyncio.Task[None]) -> bool:
    """Waits for the end of a server that is done or was cancelled; False where it has to be left behind.

    What is kept of a stopped answer is not cut short: it waits for PostgreSQL, as the end of the run would.
    """
    cancellations = 0
    while cancellations < CANCELLATIONS:
        if not producer.done():
            await asyncio.wait({producer}, timeout=STOP_AGAIN_SECONDS)
        if producer.done():
            return True
        if not attempt.is_saving_partial:
            producer.cancel()
            cancellations += 1
    log.error(
        "the server does not stop: the run ends without waiting for it",
        action="attempt_left_behind",
        run_id=attempt.run_id,
    )
    attempt.is_left_behind = True
    producer.add_done_callback(_retrieve_error)
    return False


def _was_admitted(event: ThreadStreamEvent, run: Run) -> bool:
    """Whether the SDK's own first event says what admission has written already."""
    if not isinstance(event, StreamOptionsEvent):
        return False
    return event.stream_options.model_dump() == run.input.get("stream_options")


def _retrieve_error(producer: asyncio.Task[None]) -> None:
    """Takes the error of a producer that was left behind: asyncio would report it as never retrieved."""
    if not producer.cancelled():
        producer.exception()
