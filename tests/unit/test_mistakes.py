"""Mistakes of a site's server are told with the place in its file."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, get_args

import pytest
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ErrorEvent,
    NoticeEvent,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdate,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    WidgetStreamingTextValueDelta,
)
from chatkit.widgets import Card

from relaykit.shared.site.checks import unfit_streams
from relaykit.worker.execution.mistakes import (
    EVENTS,
    UPDATES,
    BegunItems,
    ServerMistake,
    check_event,
    check_thread,
    no_stream,
)


async def respond(event: Any) -> AsyncIterator[Any]:
    yield event


LINE = respond.__code__.co_firstlineno + 1
PLACE = f"respond() in {__file__}:{LINE}"


NO_EVENTS = [({"type": "notice"}, "dict"), ("text", "str"), (None, "NoneType"), (7, "int")]


@pytest.mark.parametrize(("event", "kind"), NO_EVENTS)
async def test_what_is_no_event_is_named_by_its_type_and_the_line_that_yielded_it(
    event: Any, kind: str
) -> None:
    source = respond(event)
    yielded = await anext(source)
    with pytest.raises(ServerMistake) as raised:
        check_event(yielded, source)
    assert str(raised.value) == f"{PLACE} yielded a {kind}, not a ThreadStreamEvent"


async def test_each_type_of_event_passes_and_so_does_a_sites_own_subclass() -> None:
    class Friendly(NoticeEvent):
        pass

    assert {NoticeEvent, ErrorEvent, ProgressUpdateEvent, ThreadItemAddedEvent} <= set(EVENTS)
    for event in (NoticeEvent(level="info", message="x"), Friendly(level="info", message="x")):
        source = respond(event)
        check_event(await anext(source), source)


async def test_an_item_of_another_thread_is_told_and_no_other() -> None:
    now = datetime(2026, 1, 1)
    item = AssistantMessageItem(id="a", thread_id="another", created_at=now, content=[])
    source = respond(ThreadItemAddedEvent(item=item))
    event = await anext(source)
    assert check_thread(event, "another", source) is None
    told = f"{PLACE} yielded an item of another thread, which is stored in the run's own"
    assert check_thread(event, "own", source) == told
    assert check_thread(NoticeEvent(level="info", message="x"), "own", source) is None


NOW = datetime(2026, 1, 1)
MESSAGE = AssistantMessageItem(id="message", thread_id="own", created_at=NOW, content=[])
DELTA = AssistantMessageContentPartTextDelta(content_index=0, delta="x")
WIDGET_DELTA = WidgetStreamingTextValueDelta(component_id="text", delta="x", done=False)


async def yielded(event: Any) -> tuple[Any, AsyncIterator[Any]]:
    source = respond(event)
    return await anext(source), source


def test_each_kind_of_update_names_the_type_of_its_items() -> None:
    types = {"assistant_message", "widget", "workflow", "generated_image"}
    assert set(UPDATES.values()) == types
    assert len(UPDATES) == len(get_args(ThreadItemUpdate))


@pytest.mark.parametrize("update", [{"type": "delta"}, None, NoticeEvent(level="info", message="x")])
async def test_an_update_of_no_kind_is_a_mistake_with_the_line_that_yielded_it(update: Any) -> None:
    event, source = await yielded(ThreadItemUpdatedEvent.model_construct(item_id="message", update=update))
    with pytest.raises(ServerMistake) as raised:
        BegunItems(()).check_update(event, source)
    assert str(raised.value) == (
        f"{PLACE} yielded a {type(update).__name__} as an update, not a ThreadItemUpdate of an item"
    )


@pytest.mark.parametrize("given", [{}, {"item_id": None}, {"item_id": ["message"]}])
async def test_an_update_without_an_items_id_is_a_mistake(given: Any) -> None:
    event, source = await yielded(ThreadItemUpdatedEvent.model_construct(update=DELTA, **given))
    with pytest.raises(ServerMistake, match="yielded an update without an item's id"):
        BegunItems(()).check_update(event, source)


async def test_an_update_that_its_item_cannot_take_is_told_and_no_other() -> None:
    """An item of another turn is not known, and a name may stand for items of two types."""
    begun = BegunItems({"message", "given"})
    begun.note(ThreadItemAddedEvent(item=MESSAGE))

    async def told(item_id: str, update: Any) -> str | None:
        event, source = await yielded(ThreadItemUpdatedEvent(item_id=item_id, update=update))
        return begun.check_update(event, source)

    assert await told("message", DELTA) is None
    assert await told("of another turn", DELTA) is None
    assert await told("message", WIDGET_DELTA) == (
        f"{PLACE} yielded a WidgetStreamingTextValueDelta for an item of the type assistant_message: "
        "no client shows it"
    )
    assert await told("given", DELTA) == (
        f"{PLACE} yielded an update of an item that has not been added: no client shows it"
    )
    widget = WidgetItem(id="message", thread_id="own", created_at=NOW, widget=Card(children=[]))
    begun.note(ThreadItemDoneEvent(item=widget))
    assert await told("message", WIDGET_DELTA) is None


async def test_a_sites_own_subclass_of_an_update_passes() -> None:
    class Louder(AssistantMessageContentPartTextDelta):
        pass

    begun = BegunItems(())
    begun.note(ThreadItemAddedEvent(item=MESSAGE))
    update = Louder(content_index=0, delta="x")
    event, source = await yielded(ThreadItemUpdatedEvent.model_construct(item_id="message", update=update))
    assert begun.check_update(event, source) is None


async def test_a_coroutine_instead_of_a_stream_is_named_with_its_function() -> None:
    async def answer() -> None:
        pass

    made = answer()
    first = answer.__code__.co_firstlineno
    assert str(no_stream(made, respond)).startswith(
        f"answer() in {__file__}:{first} gave a coroutine, not an async generator"
    )
    made.close()


def test_what_is_returned_instead_of_yielded_is_named_with_the_method_that_returned_it() -> None:
    server = ReturnsList(None)  # type: ignore[arg-type]
    first = ReturnsList.respond.__code__.co_firstlineno
    assert str(no_stream(server.respond(None, None, None), server.respond)).startswith(
        f"respond() in {__file__}:{first} gave a list, not an async generator"
    )
    assert str(no_stream([], functools.partial(list))).startswith("the server gave a list, not")


class Fits(ChatKitServer[Any]):
    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        yield NoticeEvent(level="info", message="x")


class Delegates(ChatKitServer[Any]):
    def respond(self, *given: Any) -> AsyncIterator[ThreadStreamEvent]:
        return respond(NoticeEvent(level="info", message="x"))


def with_session(method: Any) -> Any:
    @functools.wraps(method)
    async def wrapped(self: Any, thread: Any, item: Any, context: Any) -> AsyncIterator[Any]:
        async for event in method(self, thread, item, context, "session"):
            yield event

    return wrapped


class Injected(ChatKitServer[Any]):
    """A decorator gives it more than the SDK does."""

    @with_session
    async def respond(self, thread: Any, item: Any, context: Any, session: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        yield session


class Returns(ChatKitServer[Any]):
    async def respond(self, thread: Any, item: Any, context: Any) -> Any:  # type: ignore[override]
        return []


class ReturnsList(ChatKitServer[Any]):
    def respond(self, thread: Any, item: Any, context: Any) -> Any:
        return []


class TakesLess(ChatKitServer[Any]):
    async def respond(self, thread: Any, item: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        yield item


class NotAsync(ChatKitServer[Any]):
    def respond(self, thread: Any, item: Any, context: Any) -> Any:
        yield item


class Acts(Fits):
    async def action(self, thread: Any, action: Any, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        yield action


@pytest.mark.parametrize("server", [Fits, Delegates, Injected])
def test_a_server_as_the_sdk_calls_it_fits(server: type[ChatKitServer[Any]]) -> None:
    assert unfit_streams(server(None)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("server", "method", "reason"),
    [
        (Returns, "respond", "has no `yield`: it has to be an async generator, which yields events"),
        (TakesLess, "respond", ", called with thread, item, context: too many positional arguments"),
        (NotAsync, "respond", "is a generator without `async`: `async def` is what the SDK calls"),
        (Acts, "action", ", called with thread, action, sender, context: too many positional arguments"),
    ],
)
def test_a_server_that_cannot_be_called_is_told_where(
    server: type[ChatKitServer[Any]], method: str, reason: str
) -> None:
    code = getattr(server, method).__code__
    told = unfit_streams(server(None))  # type: ignore[arg-type]
    place = f"{method}() in {__file__}:{code.co_firstlineno}"
    assert told is not None
    assert told.startswith(place)
    assert told.removeprefix(place).lstrip() == reason
