"""Threads, items and attachments in PostgreSQL: the Store that every ChatKit server gets unless it has its own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Protocol, get_args
from uuid import uuid4

import asyncpg
from chatkit.store import Store, StoreItemType, default_generate_id
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata, UserMessageItem
from pydantic import TypeAdapter

from relaykit.shared.identity import request_of
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.locks import THREAD_LOCK
from relaykit.shared.text import dump_json
from relaykit.shared.thread_merge import columns_of, data_of, fields_of, merge, refresh, thread_json
from relaykit.shared.threads import pages as pages
from relaykit.shared.threads import statements as sql
from relaykit.shared.threads.calls import StoreCalls, fence_of, found, owner_of, written
from relaykit.shared.threads.undo import TakenBack, take_back

MAX_PAGE_SIZE: Final = 10_000
PAGE_MAX_BYTES: Final = 1024 * 1024

ITEM: Final[TypeAdapter[ThreadItem]] = TypeAdapter(ThreadItem)
ATTACHMENT: Final[TypeAdapter[Attachment]] = TypeAdapter(Attachment)

_PREFIXES: Final = {kind: default_generate_id(kind).partition("_")[0] for kind in get_args(StoreItemType)}


def generate_id(kind: StoreItemType) -> str:
    """An id with the SDK's prefix and 128 random bits; the SDK's own has 32, which collide among 65,000."""
    return f"{_PREFIXES[kind]}_{uuid4().hex}"


def read_thread(thread_id: str, data: str, context: Any) -> ThreadMetadata:
    """A thread from its row, which the caller of `context` has then loaded."""
    request_of(context).loaded.note(thread_id, data)
    return ThreadMetadata.model_validate_json(data)


class PreviewLinks(Protocol):
    """The links to the previews of images; attachments have them, and this room knows no attachment's bytes."""

    def renew_item(self, item: ThreadItem, owner: Owner) -> None:
        """Renews the links of a message's images."""

    def renew(self, attachment: Attachment, owner: Owner) -> None:
        """Renews the link of an image."""


class PostgresStore(Store[Any]):
    """The whole of chatkit.store.Store. Every call is the caller's own: what is absent or someone else's is the same.

    `context` is the RequestContext, or whatever the user's server made of it. Calls join the transaction of
    `Database.transaction()`, where there is one. Items come in the order in which they were first written, whatever
    their clocks say; writing an item or thread again keeps its place. A page holds 1 to MAX_PAGE_SIZE entries, and
    fewer than were asked for where they have more than `page_max_bytes` together: `has_more` says so, as at any page's
    end. One entry always comes, however large it is. To a run the messages that wait for its turn to end are not there.

    Raises NotFoundError for a thread, item, attachment or cursor that is absent or someone else's, Fenced where an
    attempt of a run writes a thread or item after a newer one has begun, DatabaseUnavailable where `calls`
    does not wait until PostgreSQL is back. `given` is told each id of an item that the store makes, `stored` each item
    that it has written. Half a surrogate pair is stored as U+FFFD.

    The links to images that `previews` has signed are renewed in every item and attachment that is read.
    """

    def __init__(
        self,
        calls: StoreCalls,
        given: Callable[[str], None] = lambda _: None,
        previews: PreviewLinks | None = None,
        page_max_bytes: int = PAGE_MAX_BYTES,
        stored: Callable[[ThreadItem], None] = lambda _: None,
    ) -> None:
        self._calls = calls
        self._given = given
        self._previews = previews
        self._page_max_bytes = page_max_bytes
        self._stored = stored

    def generate_thread_id(self, context: Any) -> str:
        return generate_id("thread")

    def generate_item_id(self, item_type: StoreItemType, thread: ThreadMetadata, context: Any) -> str:
        item_id = generate_id(item_type)
        self._given(item_id)
        return item_id

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        row = await self._calls.row(sql.LOAD_THREAD, thread_id, *owner_of(context))
        return read_thread(thread_id, found(row, thread_id)["data"], context)

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        """Writes what the caller has changed of the thread since it loaded it, without its items, over what it is now.

        `thread` then has what others have changed meanwhile. A run leaves a title alone that another writer has given
        since the run began, and cannot bring back its thread once that has been deleted.
        """
        request, fence = request_of(context), fence_of(context)
        loaded, saved = request.loaded.get(thread.id), fields_of(thread_json(thread))
        row, is_titled = None if loaded is None else loaded.row, False
        while True:
            fields = {} if row is None else fields_of(row)
            merged = merge(saved, fields, loaded, in_run=fence.attempt is not None, is_titled=is_titled)
            data, changed = data_of(merged.fields), columns_of(merged.changes)
            parameters = (data, row or "", merged.changes_title, *changed, *fence)
            answer = await self._calls.row(sql.SAVE_THREAD, thread.id, *owner_of(context), *parameters)
            answer = written(answer, thread.id)
            if answer["saved"]:
                break
            row, is_titled = answer["data"], answer["is_titled"]
        request.loaded.note_saved(thread.id, data, merged.changes)
        if merged.fields != saved:
            refresh(thread, saved, data)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        statement = pages.THREAD_PAGES[pages.order(order), after is not None]
        rows = await self._calls.rows(
            statement, *owner_of(context), *self._bounds(limit), *pages.cursor(after)
        )
        if not rows and after is not None:
            await self.load_thread(after, context)
        threads = [read_thread(row["id"], row["data"], context) for row in pages.entries(rows)]
        return Page[ThreadMetadata](data=threads, **pages.position(rows))

    async def load_threads_by_use(
        self, limit: int, after: pages.UseCursor | None, context: Any
    ) -> pages.UsePage:
        """The threads by their last use, newest first: a message, a new title, or another change of the thread."""
        statement = sql.THREADS_BY_USE if after is None else sql.THREADS_BY_USE_AFTER
        cursor = () if after is None else (after.used_at, after.seq)
        rows = await self._calls.rows(statement, *owner_of(context), *self._bounds(limit), *cursor)
        found = pages.entries(rows)
        threads = [
            pages.UsedThread(read_thread(row["id"], row["data"], context), row["updated_at"]) for row in found
        ]
        last = pages.UseCursor(found[-1]["updated_at"], found[-1]["seq"]) if len(rows) > len(found) else None
        return pages.UsePage(threads, last)

    async def delete_thread(self, thread_id: str, context: Any) -> None:
        """Deletes the thread, its items and attachments and its ended runs; asks its active runs to stop."""
        owner = owner_of(context)

        async def delete() -> None:
            async with self._calls.database.transaction():
                await self.lock_thread(thread_id, context)
                await self._calls.row(THREAD_LOCK, *owner, thread_id)  # no run of the thread ends meanwhile
                await self._calls.row(sql.DELETE_THREAD, thread_id, *owner)

        await self._calls.patiently(delete)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        statement = pages.ITEM_PAGES[pages.order(order), after is not None]
        bounds, run_id = self._bounds(limit), fence_of(context).run_id
        rows = await self._calls.rows(
            statement, thread_id, *owner_of(context), *bounds, run_id, *pages.cursor(after)
        )
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
        """Writes the item. The attachments of a message then live as long as this thread, as any that shows them."""
        parameters = (*owner_of(context), item.id, dump_json(item), *fence_of(context))
        if isinstance(item, UserMessageItem) and item.attachments:
            shown = sorted({attachment.id for attachment in item.attachments})
            row = await self._calls.row(sql.WRITE_MESSAGE, thread_id, *parameters, shown)
        else:
            row = await self._calls.row(sql.WRITE_ITEM, thread_id, *parameters)
        written(row, thread_id)
        self._stored(item)

    async def load_item(self, thread_id: str, item_id: str, context: Any) -> ThreadItem:
        row = await self._calls.row(sql.LOAD_ITEM, thread_id, *owner_of(context), item_id)
        return self._item(found(row, item_id), context)

    def _item(self, row: asyncpg.Record, context: Any) -> ThreadItem:
        item = ITEM.validate_json(row["data"])
        if self._previews is not None:
            self._previews.renew_item(item, owner_of(context))
        return item

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Any) -> None:
        """Deletes the item, if it is there: the SDK also removes items that were streamed but never stored."""
        row = await self._calls.row(
            sql.DELETE_ITEM, thread_id, *owner_of(context), item_id, *fence_of(context)
        )
        written(row, thread_id)

    async def has_items(self, thread_id: str, item_ids: Collection[str], context: Any) -> bool:
        """Whether all of the items are in the thread; reads none of them."""
        wanted = set(item_ids)
        row = await self._calls.row(sql.COUNT_ITEMS, thread_id, *owner_of(context), list(wanted))
        return row is not None and row["count"] == len(wanted)

    async def delete_newer(self, thread_id: str, item_id: str, context: Any) -> None:
        """Deletes all that came to the thread after the item; reads none of it."""
        row = await self._calls.row(
            sql.DELETE_NEWER, thread_id, *owner_of(context), item_id, *fence_of(context)
        )
        written(row, item_id)

    async def lock_thread(self, thread_id: str, context: Any) -> None:
        """Keeps everybody else from changing the thread, and from adding to it, until the transaction ends."""
        fence = fence_of(context)
        written(await self._calls.row(sql.LOCK_THREAD, thread_id, *owner_of(context), *fence), thread_id)

    async def take_back(
        self, thread_id: str, anchor_item_id: str | None, context: Any, *, keep: Collection[str] = ()
    ) -> TakenBack:
        """Takes back what the run of `context` has added to the thread and changed in it in its attempts so far.

        What another writer has changed since stays. Of items that do not say who wrote them, those after the anchor
        (all, without one) but for `keep` were added.
        """
        return await take_back(self._calls, thread_id, anchor_item_id, keep, context)

    async def move_to_end(self, thread_id: str, item_id: str, context: Any) -> None:
        """Makes the item the thread's last one."""
        row = await self._calls.row(
            sql.MOVE_TO_END, thread_id, *owner_of(context), item_id, *fence_of(context)
        )
        written(row, item_id)

    async def load_attachment(self, attachment_id: str, context: Any) -> Attachment:
        """Its `upload_descriptor` is None once the bytes are there."""
        row = await self._calls.row(sql.LOAD_ATTACHMENT, attachment_id, *owner_of(context))
        row = found(row, attachment_id)
        attachment = ATTACHMENT.validate_json(row["data"])
        if row["uploaded"]:
            attachment.upload_descriptor = None
        if self._previews is not None:
            self._previews.renew(attachment, owner_of(context))
        return attachment

    async def save_attachment(self, attachment: Attachment, context: Any) -> None:
        data = attachment.model_dump_json()
        row = await self._calls.row(
            sql.SAVE_ATTACHMENT, attachment.id, *owner_of(context), data, attachment.thread_id
        )
        found(row, attachment.id)

    async def is_attachment_sent(self, attachment_id: str, context: Any) -> bool:
        """Whether a message of a thread that is there has taken it."""
        row = await self._calls.row(sql.IS_SENT, attachment_id, *owner_of(context))
        return row is not None and row["thread_id"] is not None

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        """Deletes the attachment, if it is there: the SDK deletes in the attachment store first, ours with the row."""
        await self._calls.row(sql.DELETE_ATTACHMENT, attachment_id, *owner_of(context))
