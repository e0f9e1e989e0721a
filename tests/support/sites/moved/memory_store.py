"""A store in memory, as OpenAI's samples have one: good for one process, and for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chatkit.store import NotFoundError, Store
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata


@dataclass
class Kept:
    owner: str
    thread: ThreadMetadata
    items: list[ThreadItem] = field(default_factory=list)


def owner_of(context: dict[str, Any]) -> str:
    return str(context.get("user_id", ""))


class MemoryStore(Store[dict[str, Any]]):
    def __init__(self) -> None:
        self.threads: dict[str, Kept] = {}

    def kept(self, thread_id: str, context: dict[str, Any]) -> Kept:
        found = self.threads.get(thread_id)
        if found is None or found.owner != owner_of(context):
            raise NotFoundError(f"there is no thread {thread_id}")
        return found

    async def load_thread(self, thread_id: str, context: dict[str, Any]) -> ThreadMetadata:
        return self.kept(thread_id, context).thread.model_copy(deep=True)

    async def save_thread(self, thread: ThreadMetadata, context: dict[str, Any]) -> None:
        plain = ThreadMetadata(**thread.model_dump(exclude={"items"}))
        known = self.threads.setdefault(thread.id, Kept(owner_of(context), plain))
        known.thread = plain

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: dict[str, Any]
    ) -> Page[ThreadMetadata]:
        own = [kept.thread for kept in self.threads.values() if kept.owner == owner_of(context)]
        return page(own, limit, after, order)

    async def delete_thread(self, thread_id: str, context: dict[str, Any]) -> None:
        self.kept(thread_id, context)
        del self.threads[thread_id]

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: dict[str, Any]
    ) -> Page[ThreadItem]:
        return page(self.kept(thread_id, context).items, limit, after, order)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: dict[str, Any]) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: dict[str, Any]) -> None:
        items = self.kept(thread_id, context).items
        for place, known in enumerate(items):
            if known.id == item.id:
                items[place] = item.model_copy(deep=True)
                return
        items.append(item.model_copy(deep=True))

    async def load_item(self, thread_id: str, item_id: str, context: dict[str, Any]) -> ThreadItem:
        for item in self.kept(thread_id, context).items:
            if item.id == item_id:
                return item.model_copy(deep=True)
        raise NotFoundError(f"there is no item {item_id}")

    async def delete_thread_item(self, thread_id: str, item_id: str, context: dict[str, Any]) -> None:
        kept = self.kept(thread_id, context)
        kept.items = [item for item in kept.items if item.id != item_id]

    async def save_attachment(self, attachment: Attachment, context: dict[str, Any]) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: dict[str, Any]) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: dict[str, Any]) -> None:
        raise NotImplementedError


def page(entries: list[Any], limit: int, after: str | None, order: str) -> Page[Any]:
    ordered = entries if order == "asc" else list(reversed(entries))
    start = [entry.id for entry in ordered].index(after) + 1 if after else 0
    some = ordered[start : start + limit]
    more = start + limit < len(ordered)
    return Page(
        data=[entry.model_copy(deep=True) for entry in some],
        has_more=more,
        after=some[-1].id if more else None,
    )
