"""Which item of the thread each event of one attempt means. Pure.

A server's ids are not unique: models behind the Chat Completions API name every item alike, in every turn. So an
event's id is taken as a name. Nothing that an earlier run stored, or an earlier item of this attempt, is overwritten or
removed by an event that means an item of its own: a second item of the same name gets an id of the store's, which
stands for the name until the attempt ends.

- `added` begins an item, unless the same one is open, or the thread has exactly this one.
- `done` ends the open item of its name and type. Without one it is the item that the thread has by this name, shown
  again, where type and time of creation are the same; else an item of its own.
- `updated`, `replaced` and `removed` mean this attempt's item of the name, where there is one, and else the thread's.
  A name that is no item's id, such as a placeholder, has none there: `replaced` begins an item.
- An id that the store has made for this attempt is no name: it is no other item's, and means what the server says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agents.models.fake_id import FAKE_RESPONSES_ID
from chatkit.store import StoreItemType
from chatkit.types import (
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)

from relaykit.shared.text import is_well_formed

PLACEHOLDERS: Final = frozenset({FAKE_RESPONSES_ID})
"""Names that the agents SDK gives to items without an id; none of them is the id of an item."""

_STORE_TYPES: Final[dict[str, StoreItemType]] = {
    "client_tool_call": "tool_call",
    "task": "task",
    "workflow": "workflow",
    "sdk_hidden_context": "sdk_hidden_context",
}


def store_type(item: ThreadItem) -> StoreItemType:
    """The type for which a store is asked to make an id."""
    return _STORE_TYPES.get(item.type, "message")


@dataclass(slots=True)
class _Own:
    """An item that this attempt has begun."""

    id: str
    created_at: datetime
    is_open: bool


class ItemIds:
    """The names of one attempt. `generate` makes an id; `given` holds those that the store has made for the attempt."""

    def __init__(self, generate: Callable[[ThreadItem], str], given: Collection[str] = frozenset()) -> None:
        self._generate = generate
        self._given = given
        self.has_names = False
        """Whether an item was begun whose id the store has not made: before, an update means the id that it has."""
        self._stored: dict[str, ThreadItem | None] = {}
        """What the thread has by each name that was looked up, but for the items of this attempt."""
        self._own: dict[str, dict[str, _Own]] = {}
        """The newest item of the attempt, by name and type."""
        self._ids: dict[str, list[str]] = {}
        """The ids of all items of the attempt by name, but for those that were removed."""

    def name_to_look_up(self, event: ThreadStreamEvent) -> str | None:
        """The name to call `looked_up` with before `apply` takes the event."""
        if not isinstance(event, ThreadItemAddedEvent | ThreadItemDoneEvent):
            return None
        name = event.item.id
        is_known = name in self._given or name in self._stored or _is_no_id(name)
        return None if is_known else name

    def looked_up(self, name: str, stored: ThreadItem | None) -> None:
        """The item that the thread has by this name, if any."""
        self._stored[name] = stored

    def apply(self, event: ThreadStreamEvent) -> Sequence[ThreadStreamEvent]:
        """The event with the id of the item that it means; for a removal one event for each item. Changes none."""
        match event:
            case ThreadItemUpdatedEvent():
                return (self.apply_update(event),)
            case ThreadItemAddedEvent() | ThreadItemDoneEvent() | ThreadItemReplacedEvent():
                item_id = event.item.id if event.item.id in self._given else self._id_of(event)
                return (_with_item_id(event, item_id),)
            case ThreadItemRemovedEvent():
                return self._remove(event)
            case _:
                return (event,)

    def apply_update(self, event: ThreadItemUpdatedEvent) -> ThreadItemUpdatedEvent:
        items = self._own.get(event.item_id)
        if not items:
            return event
        own = items.get(event.update.type.partition(".")[0])  # "workflow.task.added" updates a workflow
        if own is None:
            if self._stored.get(event.item_id) is not None:
                return event
            own = _newest(items)
        return event if own.id == event.item_id else event.model_copy(update={"item_id": own.id})

    def _id_of(self, event: ThreadItemAddedEvent | ThreadItemDoneEvent | ThreadItemReplacedEvent) -> str:
        match event:
            case ThreadItemAddedEvent():
                return self._add(event.item)
            case ThreadItemDoneEvent():
                return self._finish(event.item)
            case ThreadItemReplacedEvent():
                return self._replace(event.item)

    def _add(self, item: ThreadItem) -> str:
        items, stored = self._own.get(item.id), self._stored.get(item.id)
        if items:
            own = items.get(item.type)
            if own is not None and own.is_open and own.created_at == item.created_at:
                return own.id
        elif stored is not None and _is_same(stored, item) and _as_json(stored) == _as_json(item):
            return item.id
        return self._begin(item, is_open=True)

    def _finish(self, item: ThreadItem) -> str:
        own = self._own.get(item.id, {}).get(item.type)
        if own is None or own.created_at != item.created_at:
            if self._is_stored(item):
                self._stored[item.id] = item
                return item.id
            if own is None or not own.is_open:
                return self._begin(item, is_open=False)
        own.created_at, own.is_open = item.created_at, False
        return own.id

    def _replace(self, item: ThreadItem) -> str:
        items = self._own.get(item.id)
        if not items:
            if _is_no_id(item.id):
                return self._begin(item, is_open=False)
            if self._stored.get(item.id) is not None:
                self._stored[item.id] = item
            return item.id
        own = items.get(item.type)
        if own is None or own.created_at != item.created_at:
            if self._is_stored(item):
                self._stored[item.id] = item
                return item.id
            own = own or _newest(items)
        items[item.type] = _Own(own.id, item.created_at, is_open=False)
        return own.id

    def _remove(self, event: ThreadItemRemovedEvent) -> Sequence[ThreadStreamEvent]:
        """Takes away all items of the name that the attempt has shown: a guardrail means them all, and says it once."""
        name = event.item_id
        item_ids = self._ids.pop(name, None)
        if item_ids is not None:
            del self._own[name]
            return [event.model_copy(update={"item_id": item_id}) for item_id in item_ids]
        if _is_no_id(name):
            return ()  # such as that of a tool call that was never shown
        if name in self._stored:
            self._stored[name] = None
        return (event,)

    def _begin(self, item: ThreadItem, *, is_open: bool) -> str:
        name = item.id
        self.has_names = True
        item_id = self._generate(item) if self._is_taken(name) else name
        items = self._own.setdefault(name, {})
        items.pop(item.type, None)  # so that the newest stands last
        items[item.type] = _Own(item_id, item.created_at, is_open)
        self._ids.setdefault(name, []).append(item_id)
        return item_id

    def _is_taken(self, name: str) -> bool:
        return _is_no_id(name) or self._stored.get(name) is not None or name in self._ids.get(name, ())

    def _is_stored(self, item: ThreadItem) -> bool:
        stored = self._stored.get(item.id)
        return stored is not None and _is_same(stored, item)


def _is_no_id(name: str) -> bool:
    """Whether the name is a placeholder, empty, or text that no store takes."""
    return not name or name in PLACEHOLDERS or "\x00" in name or not is_well_formed(name)


def _is_same(stored: ThreadItem, item: ThreadItem) -> bool:
    return stored.type == item.type and stored.created_at == item.created_at


def _as_json(item: ThreadItem) -> object:
    return item.model_dump(mode="json", exclude_none=True)


def _newest(items: dict[str, _Own]) -> _Own:
    return next(reversed(items.values()))


def _with_item_id(
    event: ThreadItemAddedEvent | ThreadItemDoneEvent | ThreadItemReplacedEvent, item_id: str
) -> ThreadStreamEvent:
    if event.item.id == item_id:
        return event
    return event.model_copy(update={"item": event.item.model_copy(update={"id": item_id})})
