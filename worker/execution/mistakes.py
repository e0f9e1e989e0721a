"""What a server may yield by mistake, told with the place in its own file.

The text of a mistake names types and lines, and quotes nothing of what was yielded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from types import CodeType, FrameType
from typing import Annotated, Any, Final, get_args, get_origin

from chatkit.types import (
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdate,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)
from pydantic import BaseModel


class ServerMistake(Exception):
    """The server has yielded what is no event, or is no stream of events. Its text may be logged."""


def _members(union: Any) -> Iterator[type]:
    if get_origin(union) is Annotated:
        yield from _members(get_args(union)[0])
    elif members := get_args(union):
        for member in members:
            yield from _members(member)
    else:
        yield union


EVENTS: Final = tuple(_members(ThreadStreamEvent))
_EXACTLY: Final = frozenset(EVENTS)
UPDATES: Final[dict[type, str]] = {
    update: update.model_fields["type"].default.partition(".")[0]
    for update in _members(ThreadItemUpdate)
    if issubclass(update, BaseModel)
}
"""The type of the items that each kind of update is for: "workflow.task.added" updates a workflow."""


def check_event(event: object, source: object) -> None:
    """Raises ServerMistake where that is no event. `source` is the server's generator, which has just yielded it."""
    if type(event) not in _EXACTLY and not isinstance(event, EVENTS):
        raise ServerMistake(f"{_place(source)} yielded a {type(event).__name__}, not a ThreadStreamEvent")


def check_thread(event: object, thread_id: str, source: object) -> str | None:
    """What is wrong with an event whose item names another thread, in one sentence; None where nothing is."""
    item = getattr(event, "item", None)
    if item is None or getattr(item, "thread_id", thread_id) == thread_id:
        return None
    return f"{_place(source)} yielded an item of another thread, which is stored in the run's own"


class BegunItems:
    """The items that one attempt has begun, by the ids that the server gives them, with their types.

    `given` has the ids that the store has made for the attempt: no item has one of these before the attempt begins it.
    """

    __slots__ = ("_given", "_last_id", "_last_kind", "_types")

    def __init__(self, given: Collection[str]) -> None:
        self._given = given
        self._types: dict[str, set[str]] = {}
        self._last_id: str | None = None
        """The item of the last update that was right: mostly the next one is another piece of the same text."""
        self._last_kind: type | None = None

    def note(self, event: object) -> None:
        if isinstance(event, ThreadItemAddedEvent | ThreadItemDoneEvent | ThreadItemReplacedEvent):
            self._types.setdefault(event.item.id, set()).add(event.item.type)

    def check_update(self, event: ThreadItemUpdatedEvent, source: object) -> str | None:
        """What is wrong with an update that its item cannot take, in one sentence; None where nothing is.

        The SDK passes it on, and clients pass it over. Raises ServerMistake for one that is of no kind at all.
        """
        fields = event.__dict__  # one that was made without validation may lack any
        update, item_id = fields.get("update"), fields.get("item_id")
        kind = type(update)
        if kind is self._last_kind and item_id == self._last_id:
            return None
        item_type = UPDATES.get(kind) or _inherited(update)
        if item_type is None or not isinstance(item_id, str):
            what = "an update without an item's id" if item_type else f"a {kind.__name__} as an update"
            raise ServerMistake(f"{_place(source)} yielded {what}, not a ThreadItemUpdate of an item")
        types = self._types.get(item_id)
        if types is None and item_id in self._given:
            return (
                f"{_place(source)} yielded an update of an item that has not been added: no client shows it"
            )
        if types is None or item_type in types:  # without types it may be an item of an earlier turn
            self._last_id, self._last_kind = item_id, kind
            return None
        return (
            f"{_place(source)} yielded a {kind.__name__} for an item of the type "
            f"{' or '.join(sorted(types))}: no client shows it"
        )


def _inherited(update: object) -> str | None:
    return next((item_type for kind, item_type in UPDATES.items() if isinstance(update, kind)), None)


def no_stream(source: object, method: Callable[..., object]) -> ServerMistake:
    """What was called for the answer, `method` of the server, has given this instead of an async iterator."""
    place = _place(source)
    if place == _SOMEWHERE:
        code = getattr(inspect.unwrap(getattr(method, "__func__", method)), "__code__", None)
        place = _first_line(code) if isinstance(code, CodeType) else place
    return ServerMistake(
        f"{place} gave a {type(source).__name__}, not an async generator: it has to yield its events"
    )


_SOMEWHERE: Final = "the server"


def _place(source: object) -> str:
    """The function that made the generator, with the line where it stands."""
    frame = getattr(source, "ag_frame", None) or getattr(source, "cr_frame", None)
    if not isinstance(frame, FrameType):
        code = getattr(source, "cr_code", None)
        return _first_line(code) if code else _SOMEWHERE
    return f"{frame.f_code.co_name}() in {frame.f_code.co_filename}:{frame.f_lineno}"


def _first_line(code: CodeType) -> str:
    return f"{code.co_name}() in {code.co_filename}:{code.co_firstlineno}"
