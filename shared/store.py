"""Threads, items and attachments in PostgreSQL: the Store that every ChatKit server gets unless it has its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple, TypeVar, get_args
from uuid import uuid4

import asyncpg
import structlog
from chatkit.store import NotFoundError, Store, StoreItemType, default_generate_id
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata
from pydantic import TypeAdapter

from shared import store_pages as pages
from shared import store_sql as sql
from shared.database import Database
from shared.errors import DatabaseUnavailable, Fenced
from shared.identity import owner_of
from shared.log import failure
from shared.previews import Previews
from shared.runs_sql import THREAD_LOCK

MAX_PAGE_SIZE: Final = 10_000
PAGE_MAX_BYTES: Final = 1024 * 1024
RETRY_SECONDS: Final = 0.25

T = TypeVar("T")

log = structlog.get_logger()

ITEM: Final[TypeAdapter[ThreadItem]] = TypeAdapter(ThreadItem)
ATTACHMENT: Final[TypeAdapter[Attachment]] = TypeAdapter(Attachment)

_PREFIXES: Final = {kind: default_generate_id(kind).partition("_")[0] for kind in get_args(StoreItemType)}


def generate_id(kind: StoreItemType) -> str:
    """An id with the SDK's prefix and 128 random bits; the SDK's own has 32, which collide among 65,000."""
    return f"{_PREFIXES[kind]}_{uuid4().hex}"


def thread_json(thread: ThreadMetadata) -> str:
    """A thread as it is stored: without its items."""
    return thread.model_dump_json(exclude={"items"})


class PostgresStore(Store[Any]):
    """The whole of chatkit.store.Store. Every call is the caller's own: what is absent or someone else's is the same.

    `context` is the RequestContext, or whatever the user's server made of it. Calls join the transaction of
    `Database.transaction()`, where there is one. Items come in the order in which they were first written, whatever
    their clocks say; writing an item or thread again keeps its place. A page holds 1 to MAX_PAGE_SIZE entries, and
    fewer than were asked for where they have more than `page_max_bytes` together: `has_more` says so, as at any page's
    end. One entry always comes, however large it is. To a run the messages that wait for its turn to end are not there.

    Raises NotFoundError for a thread, item, attachment or cursor that is absent or someone else's, Fenced where an
    attempt of a run writes a thread or item after a newer one has begun, DatabaseUnavailable: but where `waits` says
    so, a call is repeated until PostgreSQL is back, which every one of them can be. Each is one block of `calling`.

    The links to images that `previews` has signed are renewed in every item and attachment that is read.
    """

    def __init__(
        self,
        database: Database,
        waits: Callable[[], bool] = lambda: False,
        calling: Callable[[], AbstractContextManager[object]] = nullcontext,
        previews: Previews | None = None,
        page_max_bytes: int = PAGE_MAX_BYTES,
    ) -> None:
        self._database = database
        self._waits = waits
        self._calling = calling
        self._previews = previews
        self._page_max_bytes = page_max_bytes

    def generate_thread_id(self, context: Any) -> str:
        return generate_id("thread")

    def generate_item_id(self, item_type: StoreItemType, thread: ThreadMetadata, context: Any) -> str:
        return generate_id(item_type)

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        row = await self._row(sql.LOAD_THREAD, thread_id, *_owner(context))
        return ThreadMetadata.model_validate_json(_found(row, thread_id)["data"])

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        """Writes the thread without its items. A run cannot bring back its thread once that has been deleted."""
        data = thread_json(thread)
        row = await self._row(sql.SAVE_THREAD, thread.id, *_owner(context), data, *_fence(context))
        _written(row, thread.id)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        statement = pages.THREAD_PAGES[pages.order(order), after is not None]
        rows = await self._rows(statement, *_owner(context), *self._bounds(limit), *pages.cursor(after))
        if not rows and after is not None:
            await self.load_thread(after, context)
        threads = [ThreadMetadata.model_validate_json(row["data"]) for row in pages.entries(rows)]
        return Page[ThreadMetadata](data=threads, **pages.position(rows))

    async def delete_thread(self, thread_id: str, context: Any) -> None:
        """Deletes the thread, its items and attachments and its ended runs; asks its active runs to stop."""
        owner = _owner(context)

        async def delete() -> None:
            async with self._database.transaction():
                _written(await self._row(sql.LOCK_THREAD, thread_id, *owner, *_fence(context)), thread_id)
                await self._row(THREAD_LOCK, *owner, thread_id)  # no run of the thread ends meanwhile
                await self._row(sql.DELETE_THREAD, thread_id, *owner)

        await self._patiently(delete)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        statement = pages.ITEM_PAGES[pages.order(order), after is not None]
        bounds, run_id = self._bounds(limit), _fence(context).run_id
        rows = await self._rows(statement, thread_id, *_owner(context), *bounds, run_id, *pages.cursor(after))
        if not rows:
            await self._check_position(thread_id, after, context)
        items = [self._item(row, context) for row in pages.entries(rows)]
        return Page[ThreadItem](data=items, **pages.position(rows))

    def _bounds(self, limit: int) -> tuple[int, int]:
        return min(max(limit, 1), MAX_PAGE_SIZE), self._page_max_bytes

    async def _check_position(self, thread_id: str, after: str | None, context: Any) -> None:
        if after is None:
            await self.load_thread(thread_id, context)
        else:
            await self.load_item(thread_id, after, context)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        data = item.model_dump_json()
        row = await self._row(sql.WRITE_ITEM, thread_id, *_owner(context), item.id, data, *_fence(context))
        _written(row, thread_id)

    async def load_item(self, thread_id: str, item_id: str, context: Any) -> ThreadItem:
        row = await self._row(sql.LOAD_ITEM, thread_id, *_owner(context), item_id)
        return self._item(_found(row, item_id), context)

    def _item(self, row: asyncpg.Record, context: Any) -> ThreadItem:
        item = ITEM.validate_json(row["data"])
        if self._previews is not None:
            self._previews.renew_item(item, *_owner(context))
        return item

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Any) -> None:
        """Deletes the item, if it is there: the SDK also removes items that were streamed but never stored."""
        row = await self._row(sql.DELETE_ITEM, thread_id, *_owner(context), item_id, *_fence(context))
        _written(row, thread_id)

    async def has_items(self, thread_id: str, item_ids: Collection[str], context: Any) -> bool:
        """Whether all of the items are in the thread; reads none of them."""
        wanted = set(item_ids)
        row = await self._row(sql.COUNT_ITEMS, thread_id, *_owner(context), list(wanted))
        return row is not None and row["count"] == len(wanted)

    async def delete_newer(self, thread_id: str, item_id: str, context: Any) -> None:
        """Deletes all that came to the thread after the item; reads none of it."""
        row = await self._row(sql.DELETE_NEWER, thread_id, *_owner(context), item_id, *_fence(context))
        _written(row, item_id)

    async def take_back(
        self, thread_id: str, anchor_item_id: str | None, context: Any, *, keep: Collection[str] = ()
    ) -> list[str]:
        """Deletes what the run of `context` has added to the thread in its attempts so far; the ids in order.

        Of items that do not say who wrote them, those after the anchor (all, without one) but for `keep`.
        """
        owner, fence = _owner(context), _fence(context)
        row = await self._row(sql.TAKE_BACK, thread_id, *owner, anchor_item_id, list(keep), *fence)
        return list(_written(row, thread_id)["ids"])

    async def move_to_end(self, thread_id: str, item_id: str, context: Any) -> None:
        """Makes the item the thread's last one."""
        row = await self._row(sql.MOVE_TO_END, thread_id, *_owner(context), item_id, *_fence(context))
        _written(row, item_id)

    async def load_attachment(self, attachment_id: str, context: Any) -> Attachment:
        """Its `upload_descriptor` is None once the bytes are there."""
        row = await self._row(sql.LOAD_ATTACHMENT, attachment_id, *_owner(context))
        found = _found(row, attachment_id)
        attachment = ATTACHMENT.validate_json(found["data"])
        if found["uploaded"]:
            attachment.upload_descriptor = None
        if self._previews is not None:
            self._previews.renew(attachment, *_owner(context))
        return attachment

    async def save_attachment(self, attachment: Attachment, context: Any) -> None:
        data = attachment.model_dump_json()
        row = await self._row(
            sql.SAVE_ATTACHMENT, attachment.id, *_owner(context), data, attachment.thread_id
        )
        _found(row, attachment.id)

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        """Deletes the attachment, if it is there: the SDK deletes in the attachment store first, ours with the row."""
        await self._row(sql.DELETE_ATTACHMENT, attachment_id, *_owner(context))

    async def _row(self, statement: str, *parameters: object) -> asyncpg.Record | None:
        rows = await self._rows(statement, *parameters)
        return rows[0] if rows else None

    async def _rows(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        if any(isinstance(parameter, str) and "\x00" in parameter for parameter in parameters):
            raise NotFoundError("an id with U+0000")  # no text of Postgres' holds it; JSON has it escaped

        async def fetch() -> list[asyncpg.Record]:
            async with self._database.connection() as connection:
                return await connection.fetch(statement, *parameters)

        return await self._patiently(fetch)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call again until PostgreSQL is back, where `waits` says so; a lost transaction only as a whole."""
        with self._calling():
            while True:
                try:
                    return await call()
                except DatabaseUnavailable as error:
                    if self._database.in_transaction or not self._waits():
                        raise
                    log.warning("waiting for PostgreSQL", action="store_retry", **failure(error))
                await asyncio.sleep(RETRY_SECONDS)


class _Owner(NamedTuple):
    tenant: str
    owner: str


class _Fence(NamedTuple):
    run_id: str | None
    attempt: int | None


def _owner(context: object) -> _Owner:
    request = owner_of(context)
    return _Owner(request.tenant or "", request.user_id)


def _fence(context: object) -> _Fence:
    request = owner_of(context)
    if request.attempt is None:
        return _Fence(None, None)
    return _Fence(request.run_id, request.attempt)


def _found(row: asyncpg.Record | None, what: str) -> asyncpg.Record:
    if row is None:
        raise NotFoundError(what)
    return row


def _written(row: asyncpg.Record | None, what: str) -> asyncpg.Record:
    row = _found(row, what)
    if row["fenced"]:
        raise Fenced
    if not row["found"]:
        raise NotFoundError(what)
    return row
