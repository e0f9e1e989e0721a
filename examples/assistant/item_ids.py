"""Gives the model's items ids of the store: some models name every message alike, in every turn."""

from __future__ import annotations

from collections.abc import Callable

from chatkit.store import StoreItemType
from chatkit.types import (
    AssistantMessageItem,
    ClientToolCallItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)


class ItemIds:
    """For one turn. No id that a model chose reaches the thread, where it could overwrite an older item."""

    def __init__(self, generate: Callable[[StoreItemType], str]) -> None:
        self._generate = generate
        self._ids: dict[str, str] = {}
        """By the model's id: that of the newest item of this name."""

    def apply(self, event: ThreadStreamEvent) -> ThreadStreamEvent:
        match event:
            case ThreadItemAddedEvent(item=AssistantMessageItem() as item):
                self._ids[item.id] = self._generate("message")
                return ThreadItemAddedEvent(item=self._renamed(item))
            case ThreadItemDoneEvent(item=AssistantMessageItem() as item):
                self._ids.setdefault(item.id, self._generate("message"))
                return ThreadItemDoneEvent(item=self._renamed(item))
            case ThreadItemDoneEvent(item=ClientToolCallItem() as call):
                new_id = self._generate("tool_call")
                return ThreadItemDoneEvent(item=call.model_copy(update={"id": new_id}))
            case ThreadItemUpdatedEvent() | ThreadItemRemovedEvent():
                return event.model_copy(update={"item_id": self._ids.get(event.item_id, event.item_id)})
            case _:
                return event

    def _renamed(self, item: AssistantMessageItem) -> AssistantMessageItem:
        return item.model_copy(update={"id": self._ids[item.id]})
