"""The server's events on their way to the SDK: held while the journal is full, with ids and texts to be stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from chatkit.errors import BaseStreamError, ErrorCode
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ErrorEvent,
    NoticeEvent,
    ThreadItem,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    WidgetStreamingTextValueDelta,
)
from starlette.exceptions import HTTPException

from relaykit.shared.crashes import ServerCrashed, site_code
from relaykit.shared.errors import Fenced, Stopping
from relaykit.shared.log import exception_text, failure, shows_texts
from relaykit.shared.site.refusals import refusal_of, stream_error
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.text import is_well_formed, well_formed_copy
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.item_ids import ItemIds, store_type
from relaykit.worker.execution.left_generators import keep_left_generators, watch_generators
from relaykit.worker.execution.mistakes import BegunItems, ServerMistake, check_event, check_thread, no_stream
from relaykit.worker.execution.time_slice import TimeSlice
from relaykit.worker.publishing.delta_text import DeltaText

Event = TypeVar("Event", bound=ThreadStreamEvent)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The thread, and the call of the server that answers in it."""

    thread: ThreadMetadata
    method: Callable[..., AsyncIterator[ThreadStreamEvent]]
    arguments: tuple[object, ...]
    opening: ThreadStreamEvent | None = None
    """The event that the SDK gets before the server is called, if there is one."""


class ServerEvents:
    """The events of one attempt."""

    def __init__(self, attempt: Attempt, user: UserServer, prepared: Prepared) -> None:
        self._attempt = attempt
        self._journal = attempt.journal
        self._context = attempt.context
        self._store = user.server.store
        self._prepared = prepared
        generate_id = partial(_generate_id, self._store, prepared.thread, attempt.context)
        self._ids = ItemIds(generate_id, attempt.given_ids)
        self._is_store_ours = user.is_store_ours
        self._deltas = DeltaText()
        self._begun = BegunItems(attempt.given_ids)
        self._warned: set[str] = set()
        self._error_text: str | None = None
        """What the server raised, where its text may be shown."""

    async def read(self) -> AsyncGenerator[ThreadStreamEvent, None]:
        """Raises what the server raises. However it ends, the server's own generator ends first, in the same task."""
        source: AsyncIterator[ThreadStreamEvent] | None = None
        time_slice = TimeSlice()
        try:
            if self._prepared.opening is not None:
                yield self._prepared.opening
            watch_generators()
            with site_code:
                source = _started(self._prepared)
            while True:
                try:
                    event = await anext(source)
                except StopAsyncIteration:
                    break
                except (Exception, asyncio.CancelledError):
                    raise
                except BaseException as error:  # GeneratorExit comes only at the yields below
                    raise ServerCrashed from error
                if self._attempt.stopped is not None:
                    self._attempt.server_stops()
                    raise asyncio.CancelledError  # the server swallowed the one that it got
                if not self._journal.has_capacity:
                    # here the SDK hears a cancellation, because it waits for this generator
                    await self._journal.wait_for_capacity()
                elif time_slice.is_used_up():  # a server that never waits
                    await asyncio.sleep(0)
                if type(event) is ThreadItemUpdatedEvent:
                    for warning_event in self._check_update(event, source):
                        yield warning_event
                    yield self._update(event)
                else:
                    for warning_event in self._check(event, source):
                        yield warning_event
                    for storable in await self._storable(event):
                        yield storable
                if self._attempt.stopped is not None:
                    self._attempt.server_stops()
                    raise asyncio.CancelledError
        except (BaseStreamError, Fenced, Stopping):
            raise
        except Exception as error:
            self._report(error)
            if isinstance(error, HTTPException) and (refused := refusal_of(error)):
                raise stream_error(refused) from error
            if shows_texts():
                self._error_text = str(error) if isinstance(error, ServerMistake) else exception_text(error)
            raise
        finally:
            await self._close(source)

    def _report(self, error: Exception) -> None:
        """The SDK makes an error event of it. What the SDK logs quotes the exception, and is silenced."""
        reason = {"reason": str(error)} if isinstance(error, ServerMistake) else {}
        log.error(
            "the server failed: the run ends with an error",
            action="server_failed",
            run_id=self._attempt.run_id,
            **reason,
            **failure(error),
        )

    def with_text(self, event: ErrorEvent) -> ErrorEvent:
        """The SDK's event of what the server raised, with its text where LOG_EXCEPTIONS lets texts be shown."""
        if self._error_text is None or event.code is not ErrorCode.STREAM_ERROR:
            return event
        return event.model_copy(update={"message": self._error_text})

    def _check(self, event: ThreadStreamEvent, source: object) -> Sequence[ThreadStreamEvent]:
        """Raises ServerMistake for what is no event."""
        check_event(event, source)
        if isinstance(event, ThreadItemUpdatedEvent):
            return self._check_update(event, source)
        self._begun.note(event)
        mistake = check_thread(event, self._prepared.thread.id, source)
        return self._warn("thread", mistake) if mistake else ()

    def _check_update(self, event: ThreadItemUpdatedEvent, source: object) -> Sequence[ThreadStreamEvent]:
        """Raises ServerMistake for what is no update."""
        mistake = self._begun.check_update(event, source)
        return self._warn("update", mistake) if mistake else ()

    def _warn(self, kind: str, mistake: str) -> Sequence[ThreadStreamEvent]:
        """Of a mistake that the SDK takes, which is no reason to fail: logged once a run, and shown where texts are."""
        if kind in self._warned:
            return ()
        self._warned.add(kind)
        log.warning(
            "the server has yielded an event that does not fit: it is passed on all the same",
            action="server_mistake",
            run_id=self._attempt.run_id,
            reason=mistake,
        )
        return (NoticeEvent(level="warning", message=mistake),) if shows_texts() else ()

    def _update(self, event: ThreadItemUpdatedEvent) -> ThreadItemUpdatedEvent:
        if self._ids.has_names:
            event = self._ids.apply_update(event)
        update = event.update
        if type(update) is AssistantMessageContentPartTextDelta:
            if not self._deltas.holds and (update.delta.isascii() or is_well_formed(update.delta)):
                return event
            return self._deltas.apply(event, update)
        if isinstance(update, WidgetStreamingTextValueDelta):
            return self._deltas.apply(event, update)
        return self._well_formed(event)

    async def _storable(self, event: ThreadStreamEvent) -> Sequence[ThreadStreamEvent]:
        name = self._ids.name_to_look_up(event)
        if name is not None:
            self._ids.looked_up(name, await self._stored(name))
        return [self._well_formed(renamed) for renamed in self._ids.apply(event)]

    async def _stored(self, item_id: str) -> ThreadItem | None:
        with suppress(*ABSENT):
            return await self._store.load_item(self._prepared.thread.id, item_id, self._context)
        return None

    def _well_formed(self, event: Event) -> Event:
        """The event as any store takes it. Our store makes its texts well-formed by itself, and so does the journal."""
        return event if self._is_store_ours else well_formed_copy(event)

    async def _close(self, source: AsyncIterator[ThreadStreamEvent] | None) -> None:
        """Ends the server's generator where it stands at a yield, and then those that it has delegated to."""
        if not isinstance(source, AsyncGenerator):
            return
        with keep_left_generators() as left:
            await self._end(source)
            while left:
                await self._end(left.pop(0))

    async def _end(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Raises CancelledError in the generator, if the attempt was stopped, and GeneratorExit where it goes on."""
        if getattr(generator, "ag_frame", generator) is None:
            return
        try:
            with site_code:
                if self._attempt.stopped is not None:
                    with suppress(asyncio.CancelledError, StopAsyncIteration):
                        await generator.athrow(asyncio.CancelledError())
                await generator.aclose()
        except Exception as error:
            log.error(  # noqa: TRY400
                "the server failed when it was closed: the run ends all the same",
                action="server_close_failed",
                run_id=self._attempt.run_id,
                **failure(error),
            )


def _started(prepared: Prepared) -> AsyncIterator[ThreadStreamEvent]:
    """Raises ServerMistake for what cannot be iterated, such as the coroutine of a function without a `yield`."""
    stream: object = prepared.method(*prepared.arguments)
    if isinstance(stream, AsyncIterable):
        return aiter(stream)
    mistake = no_stream(stream, prepared.method)
    if isinstance(stream, Coroutine):
        stream.close()
    raise mistake


def _generate_id(store: Store[Any], thread: ThreadMetadata, context: Any, item: ThreadItem) -> str:
    return store.generate_item_id(store_type(item), thread, context)
