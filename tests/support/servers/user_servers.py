"""ChatKit servers as sites have them: written for ChatKit alone, and importing nothing of this product."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    Attachment,
    AudioInput,
    Page,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
)
from pydantic import TypeAdapter

Events = AsyncIterator[ThreadStreamEvent]

SLOW_WORDS = 100
SLOW_SECONDS = 0.02


class Talkative(ChatKitServer[Any]):
    """Greets the user by what its context knows; counts, slowly, when it is asked to count, or stops in the middle."""

    def greeting(self, context: Any) -> str:
        raise NotImplementedError

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        text = input_user_message.content[0].text if input_user_message else ""
        page = await self.store.load_thread_items(thread.id, None, 100, "asc", context)
        asked = sum(isinstance(item, UserMessageItem) for item in page.data)
        words = f"{self.greeting(context)}: {text} ({asked})".split(" ")
        if text in ("count", "count and wait"):
            words = [str(number) for number in range(SLOW_WORDS)]
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="")],
        )
        yield ThreadItemAddedEvent(item=item.model_copy(deep=True))
        for word in words:
            delta = f" {word}" if item.content[0].text else word
            item.content[0].text += delta
            update = AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
            yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
            if text in ("count", "count and wait"):
                await asyncio.sleep(SLOW_SECONDS)
            if text == "count and wait" and delta == f" {SLOW_WORDS // 2}":
                await asyncio.sleep(3600)
        yield ThreadItemDoneEvent(item=item)

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        return TranscriptionResult(text=self.greeting(context))


# --- a context type of the site's own


@dataclass
class SiteContext:
    name: str
    company: str | None
    page: str


def site_context(request: Any) -> SiteContext:
    return SiteContext(request.user_id.title(), request.tenant, request.metadata.get("page", "/"))


class SiteServer(Talkative):
    """A class that takes both stores."""

    def __init__(
        self, store: Store[SiteContext], attachment_store: AttachmentStore[SiteContext] | None = None
    ) -> None:
        super().__init__(store=store, attachment_store=attachment_store)

    def greeting(self, context: SiteContext) -> str:
        assert type(context).__name__ == "SiteContext"
        return f"{context.name} of {context.company} at {context.page}"


def dict_context(request: Any) -> dict[str, Any]:
    return {"user": {"id": request.user_id}, "page": request.metadata.get("page", "/")}


class DictServer(Talkative):
    """Made by the site itself, once, with a store that is only good for one process."""

    def __init__(self) -> None:
        super().__init__(store=ForgetfulStore())

    def greeting(self, context: dict[str, Any]) -> str:
        assert type(context) is dict
        return f"{context['user']['id']} at {context['page']}"


# --- the default context


class PlainServer(Talkative):
    def greeting(self, context: Any) -> str:
        return f"{context.user_id} at {context.metadata.get('page', '/')}"


class StoreOnly(PlainServer):
    """A class that takes the store and no other."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)


class TakesNothing(PlainServer):
    """A class that makes its own store, for which another is put."""

    def __init__(self) -> None:
        super().__init__(store=ForgetfulStore())


class TakesAnything(PlainServer):
    """A class whose constructor is passed on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


def make_server(**options: Any) -> PlainServer:
    """A factory, which puts together what the site needs."""
    return PlainServer(**options)


# --- a store of the site's own, which any number of processes can share


ITEM: TypeAdapter[Any] = TypeAdapter(ThreadItem)
ATTACHMENT: TypeAdapter[Any] = TypeAdapter(Attachment)
SCHEMA = """
CREATE TABLE IF NOT EXISTS threads (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, owner TEXT, data TEXT
);
CREATE TABLE IF NOT EXISTS items (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT, thread_id TEXT, data TEXT, UNIQUE (thread_id, id)
);
CREATE TABLE IF NOT EXISTS attachments (id TEXT PRIMARY KEY, owner TEXT, data TEXT);
"""


class SqliteStore(Store[Any]):
    """Threads of each user in one file. What is absent raises LookupError, as it does in many a store."""

    def __init__(self, path: str) -> None:
        self.path = path
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, timeout=10)
        try:
            with db:
                yield db
        finally:
            db.close()

    def _one(self, query: str, *values: Any) -> str:
        with self._open() as db:
            row = db.execute(query, values).fetchone()
        if row is None:
            raise KeyError(values[0])
        return str(row[0])

    async def load_thread(self, thread_id: str, context: Any) -> ThreadMetadata:
        query = "SELECT data FROM threads WHERE id = ? AND owner = ?"
        return ThreadMetadata.model_validate_json(self._one(query, thread_id, context.user_id))

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        data = ThreadMetadata(**thread.model_dump(exclude={"items"})).model_dump_json()
        with self._open() as db:
            db.execute(
                "INSERT INTO threads (id, owner, data) VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET data = excluded.data WHERE owner = excluded.owner",
                (thread.id, context.user_id, data),
            )

    def _page(self, rows: list[Any], limit: int, read: Any) -> Page[Any]:
        data = [read(row[0]) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(data=data, has_more=more, after=data[-1].id if more else None)

    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        sign, way = (">", "ASC") if order == "asc" else ("<", "DESC")
        with self._open() as db:
            rows = db.execute(
                f"SELECT data FROM threads WHERE owner = ?1 AND (?2 IS NULL OR seq {sign}"
                f" (SELECT seq FROM threads WHERE id = ?2)) ORDER BY seq {way} LIMIT ?3",
                (context.user_id, after, limit + 1),
            ).fetchall()
        return self._page(rows, limit, ThreadMetadata.model_validate_json)

    async def load_thread_items(
        self, thread_id: str, after: str | None, limit: int, order: str, context: Any
    ) -> Page[ThreadItem]:
        await self.load_thread(thread_id, context)
        sign, way = (">", "ASC") if order == "asc" else ("<", "DESC")
        with self._open() as db:
            rows = db.execute(
                f"SELECT data FROM items WHERE thread_id = ?1 AND (?2 IS NULL OR seq {sign}"
                f" (SELECT seq FROM items WHERE thread_id = ?1 AND id = ?2)) ORDER BY seq {way} LIMIT ?3",
                (thread_id, after, limit + 1),
            ).fetchall()
        return self._page(rows, limit, ITEM.validate_json)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        await self.save_item(thread_id, item, context)

    async def save_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        await self.load_thread(thread_id, context)
        with self._open() as db:
            db.execute(
                "INSERT INTO items (id, thread_id, data) VALUES (?, ?, ?)"
                " ON CONFLICT (thread_id, id) DO UPDATE SET data = excluded.data",
                (item.id, thread_id, item.model_dump_json()),
            )

    async def load_item(self, thread_id: str, item_id: str, context: Any) -> ThreadItem:
        await self.load_thread(thread_id, context)
        query = "SELECT data FROM items WHERE id = ? AND thread_id = ?"
        return ITEM.validate_json(self._one(query, item_id, thread_id))

    async def delete_thread(self, thread_id: str, context: Any) -> None:
        await self.load_thread(thread_id, context)
        with self._open() as db:
            db.execute("DELETE FROM items WHERE thread_id = ?", (thread_id,))
            db.execute("DELETE FROM threads WHERE id = ?", (thread_id,))

    async def delete_thread_item(self, thread_id: str, item_id: str, context: Any) -> None:
        await self.load_thread(thread_id, context)
        with self._open() as db:
            db.execute("DELETE FROM items WHERE thread_id = ? AND id = ?", (thread_id, item_id))

    async def save_attachment(self, attachment: Attachment, context: Any) -> None:
        with self._open() as db:
            values = (attachment.id, context.user_id, attachment.model_dump_json())
            db.execute("INSERT OR REPLACE INTO attachments (id, owner, data) VALUES (?, ?, ?)", values)

    async def load_attachment(self, attachment_id: str, context: Any) -> Attachment:
        query = "SELECT data FROM attachments WHERE id = ? AND owner = ?"
        return ATTACHMENT.validate_json(self._one(query, attachment_id, context.user_id))

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        with self._open() as db:
            db.execute("DELETE FROM attachments WHERE id = ? AND owner = ?", (attachment_id, context.user_id))


class NotebookServer(PlainServer):
    """A class with a constructor and a store of its own."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or os.environ["NOTEBOOK"]
        super().__init__(store=SqliteStore(self.path))


class ForgetfulStore(SqliteStore):
    """Good for nothing: every call opens an empty store of its own."""

    def __init__(self) -> None:
        super().__init__(":memory:")


dict_server = DictServer()
