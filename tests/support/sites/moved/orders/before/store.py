"""The chat's store, on SQLAlchemy."""

from __future__ import annotations

from typing import Any

from chatkit.store import NotFoundError, Store
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata
from database import Shop, items, threads
from pydantic import TypeAdapter
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

ITEM: TypeAdapter[ThreadItem] = TypeAdapter(ThreadItem)
Context = dict[str, Any]


class SqlStore(Store[Context]):
    async def load_thread(self, thread_id: str, context: Context) -> ThreadMetadata:
        own = select(threads.c.data).where(
            threads.c.id == thread_id, threads.c.customer_id == context["customer_id"]
        )
        async with Shop.engine.connect() as connection:
            data = await connection.scalar(own)
        if data is None:
            raise NotFoundError(f"there is no thread {thread_id}")
        return ThreadMetadata.model_validate_json(data)

    async def save_thread(self, thread: ThreadMetadata, context: Context) -> None:
        data = ThreadMetadata(**thread.model_dump(exclude={"items"})).model_dump_json()
        row = insert(threads).values(id=thread.id, customer_id=context["customer_id"], data=data)
        async with Shop.engine.begin() as connection:
            await connection.execute(
                row.on_conflict_do_update(
                    index_elements=[threads.c.id],
                    set_={"data": data},
                    where=threads.c.customer_id == context["customer_id"],
                )
            )

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Context
    ) -> Page[ThreadMetadata]:
        own = select(threads.c.id, threads.c.data).where(threads.c.customer_id == context["customer_id"])
        found, has_more = await self._page(own, threads, limit, after, order)
        data = [ThreadMetadata.model_validate_json(row.data) for row in found]
        return Page(data=data, has_more=has_more, after=found[-1].id if has_more else None)

    async def delete_thread(self, thread_id: str, context: Context) -> None:
        await self.load_thread(thread_id, context)
        async with Shop.engine.begin() as connection:
            await connection.execute(delete(threads).where(threads.c.id == thread_id))

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Context
    ) -> Page[ThreadItem]:
        await self.load_thread(thread_id, context)
        of_thread = select(items.c.id, items.c.data).where(items.c.thread_id == thread_id)
        found, has_more = await self._page(of_thread, items, limit, after, order)
        data = [ITEM.validate_json(row.data) for row in found]
        return Page(data=data, has_more=has_more, after=found[-1].id if has_more else None)

    async def _page(
        self, query: Any, table: Any, limit: int, after: str | None, order: str
    ) -> tuple[list[Any], bool]:
        place = table.c.place
        if after is not None:
            start = select(place).where(table.c.id == after).scalar_subquery()
            query = query.where(place > start if order == "asc" else place < start)
        query = query.order_by(place if order == "asc" else place.desc()).limit(limit + 1)
        async with Shop.engine.connect() as connection:
            found = list(await connection.execute(query))
        return found[:limit], len(found) > limit

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: Context) -> None:
        await self.load_thread(thread_id, context)
        data = item.model_dump_json()
        row = insert(items).values(thread_id=thread_id, id=item.id, data=data)
        async with Shop.engine.begin() as connection:
            await connection.execute(
                row.on_conflict_do_update(index_elements=[items.c.thread_id, items.c.id], set_={"data": data})
            )

    async def load_item(self, thread_id: str, item_id: str, context: Context) -> ThreadItem:
        await self.load_thread(thread_id, context)
        one = select(items.c.data).where(items.c.thread_id == thread_id, items.c.id == item_id)
        async with Shop.engine.connect() as connection:
            data = await connection.scalar(one)
        if data is None:
            raise NotFoundError(f"there is no item {item_id}")
        return ITEM.validate_json(data)

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Context) -> None:
        await self.load_thread(thread_id, context)
        async with Shop.engine.begin() as connection:
            await connection.execute(
                delete(items).where(items.c.thread_id == thread_id, items.c.id == item_id)
            )

    async def save_attachment(self, attachment: Attachment, context: Context) -> None:
        raise NotImplementedError

    async def load_attachment(self, attachment_id: str, context: Context) -> Attachment:
        raise NotImplementedError

    async def delete_attachment(self, attachment_id: str, context: Context) -> None:
        raise NotImplementedError
