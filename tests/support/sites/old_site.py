"""A site with a store of its own, and `relaykit import-threads` as a process that reads it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    Attachment,
    InferenceOptions,
    ThreadItem,
    ThreadMetadata,
    UserMessageItem,
    UserMessageTextContent,
)

from relaykit import RequestContext
from relaykit.shared.settings import Settings
from tests.support.processes.forked import run_command
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import START_SECONDS, environment

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

SITE = """
import os
import re
import time
from tests.support.servers.user_servers import SqliteStore
from relaykit import ThreadSource

store = SqliteStore(os.environ["OLD_STORE"])
number = 7


def one():
    return store


async def everybody():
    for user in ("alice", "bob"):
        yield ThreadSource(store=store, user_id=user)


async def the_same():
    for user in ("alice", "bob"):
        yield ThreadSource(store=Shared(os.environ["OLD_STORE"]), user_id=user)


class Shared(SqliteStore):
    # knows no users

    async def load_threads(self, limit, after, order, context):
        return await super().load_threads(limit, after, order, Alice)

    async def load_thread_items(self, thread_id, after, limit, order, context):
        return await super().load_thread_items(thread_id, after, limit, order, Alice)

    async def load_thread(self, thread_id, context):
        return await super().load_thread(thread_id, Alice)


class Alice:
    user_id = "alice"


class Signing(SqliteStore):
    # gives links that are others each time

    async def load_thread_items(self, thread_id, after, limit, order, context):
        page = await super().load_thread_items(thread_id, after, limit, order, context)
        for item in page.data:
            for attachment in getattr(item, "attachments", []):
                attachment.preview_url = f"http://old/p.png?signature={time.time_ns()}"
        return page


def signing():
    return Signing(os.environ["OLD_STORE"])


async def content(attachment):
    return {"big": b"x" * 5_000_000}.get(attachment.name, attachment.name.encode())


async def with_files():
    yield ThreadSource(store=store, user_id="alice", read_attachment=content)


class Alike(SqliteStore):
    # names every item alike

    async def load_thread_items(self, thread_id, after, limit, order, context):
        page = await super().load_thread_items(thread_id, after, limit, order, context)
        for item in page.data:
            item.id = "__fake_id__"
        return page


def alike():
    return Alike(os.environ["OLD_STORE"])


class Broken(SqliteStore):
    async def load_thread_items(self, thread_id, after, limit, order, context):
        if thread_id == "thr_1":
            raise RuntimeError("secret")
        return await super().load_thread_items(thread_id, after, limit, order, context)


def broken():
    return Broken(os.environ["OLD_STORE"])


class Stuck(SqliteStore):
    async def load_threads(self, limit, after, order, context):
        page = await super().load_threads(limit, None, order, context)
        return page.model_copy(update={"has_more": True, "after": "thr_0"})


def stuck():
    return Stuck(os.environ["OLD_STORE"])


class Exits(SqliteStore):
    async def load_threads(self, limit, after, order, context):
        raise SystemExit(0)


def exits():
    return Exits(os.environ["OLD_STORE"])


def numbers():
    return [1, 2]


def nameless():
    return [ThreadSource(store=store, user_id="")]
"""


def said(thread_id: str, item_id: str, text: str, files: list[Attachment] | None = None) -> UserMessageItem:
    return UserMessageItem(
        id=item_id,
        thread_id=thread_id,
        created_at=NOON,
        content=[UserMessageTextContent(text=text)],
        attachments=files or [],
        inference_options=InferenceOptions(),
    )


def answered(thread_id: str, item_id: str, text: str) -> AssistantMessageItem:
    return AssistantMessageItem(
        id=item_id, thread_id=thread_id, created_at=NOON, content=[AssistantMessageContent(text=text)]
    )


class OldSite:
    """A folder with a store of its own, and the command that reads it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.path = folder / "old.db"
        self.store = SqliteStore(str(self.path))
        (folder / "shop.py").write_text(SITE)

    async def write(self, user: str, thread_id: str, *items: ThreadItem, title: str | None = None) -> None:
        context = RequestContext(user_id=user)
        thread = ThreadMetadata(id=thread_id, created_at=NOON, title=title, metadata={"of": user})
        await self.store.save_thread(thread, context)
        for item in items:
            await self.store.save_item(thread_id, item, context)

    def write_many(self, count: int) -> None:
        """Threads thr_0, thr_1 and so on of alice, of a question and an answer each."""
        with sqlite3.connect(self.path) as db:
            for number in range(count):
                name = f"thr_{number}"
                thread = ThreadMetadata(id=name, created_at=NOON)
                items = [
                    said(name, "msg_1", f"question {number}"),
                    answered(name, "msg_2", f"answer {number}"),
                ]
                insert = "INSERT INTO threads (id, owner, data) VALUES (?, 'alice', ?)"
                db.execute(insert, (name, thread.model_dump_json()))
                for item in items:
                    insert = "INSERT INTO items (id, thread_id, data) VALUES (?, ?, ?)"
                    db.execute(insert, (item.id, name, item.model_dump_json()))

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "relaykit", "import-threads", *arguments],
            env=environment(self.settings, OLD_STORE=str(self.path), **more),
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, status: int = 0, **more: str) -> tuple[list[str], list[str]]:
        """The lines that it prints, and those of its complaints."""
        environ = environment(self.settings, OLD_STORE=str(self.path), **more)
        words = ["import-threads", *arguments]
        done = run_command(words, environ, folder=self.folder, timeout=START_SECONDS)
        assert done.status == status, done
        return done.output.splitlines(), done.errors.splitlines()

    def sql(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            found = connection.execute(query, values)
            return found.fetchall() if found.description else []

    def texts(self, thread_id: str) -> list[str]:
        query = "SELECT data #>> '{content,0,text}' FROM items WHERE thread_id = %s ORDER BY seq"
        return [row[0] for row in self.sql(query, thread_id)]
