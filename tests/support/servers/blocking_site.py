"""Servers whose own code, as a site's may, blocks the thread that it runs on: for the tests of what goes on meanwhile.

A place (`transcribe`, `get_stream_options`, ...) blocks as long as the folder of DOOR has a file of its name. The same
server then serves an API and a worker in one event loop, and processes.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from chatkit.actions import Action
from chatkit.store import AttachmentStore, Store
from chatkit.types import (
    AttachmentCreateParams,
    AudioInput,
    FeedbackKind,
    FileAttachment,
    Page,
    StreamOptions,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)

from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.servers.user_servers import SqliteStore

DOOR = "BLOCKING_DOOR"
GIVEN_UP_SECONDS = 60
"""After which a call goes on by itself, so that a test that fails ends."""


class Door:
    """One side shuts a place and sees a call stand before it; the other stands."""

    def __init__(self) -> None:
        self.folder = Path(os.environ[DOOR])

    def shut(self, place: str) -> None:
        (self.folder / place).touch()

    def open(self, place: str) -> None:
        (self.folder / place).unlink()

    def stands(self, place: str) -> bool:
        return (self.folder / f"{place}.blocked").exists()

    def was_opened(self, place: str) -> bool:
        """Whether the call went on because of that."""
        return not (self.folder / f"{place}.late").exists()

    def block(self, place: str) -> None:
        file = self.folder / place
        if file.exists():
            (self.folder / f"{place}.blocked").touch()
            deadline = time.monotonic() + GIVEN_UP_SECONDS
            while file.exists():
                time.sleep(0.005)  # on purpose
                if time.monotonic() > deadline:
                    (self.folder / f"{place}.late").touch()
                    break


def block(place: str) -> None:
    if DOOR in os.environ:
        Door().block(place)


class Files(AttachmentStore[Any]):
    async def create_attachment(self, input: AttachmentCreateParams, context: Any) -> FileAttachment:
        block("create_attachment")
        return FileAttachment(id=self.generate_attachment_id(input.mime_type, context), **input.model_dump())

    async def delete_attachment(self, attachment_id: str, context: Any) -> None:
        block("delete_attachment")


class Blocking(ScriptedAnswers):
    """Answers as its message's script says, and blocks in everything that an API calls."""

    def __init__(self, store: Store[Any] | None = None) -> None:
        super().__init__(store)
        self.attachment_store = Files()

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        if context.attempt is None:
            block("get_stream_options")
        return super().get_stream_options(thread, context)

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        block("transcribe")
        return TranscriptionResult(text=context.user_id)

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: Any
    ) -> None:
        block("add_feedback")

    async def sync_action(
        self, thread: ThreadMetadata, action: Action[str, Any], sender: WidgetItem | None, context: Any
    ) -> SyncCustomActionResponse:
        block("sync_action")
        return SyncCustomActionResponse()

    async def handle_stream_cancelled(
        self, thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
    ) -> None:
        block("handle_stream_cancelled")
        await super().handle_stream_cancelled(thread, pending_items, context)


def blocking_context(request: Any) -> Any:
    if request.attempt is None:
        block("context")
    return request


class BlockingStore(SqliteStore):
    async def load_threads(
        self, limit: int, after: str | None, order: str, context: Any
    ) -> Page[ThreadMetadata]:
        block("load_threads")
        return await super().load_threads(limit, after, order, context)

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        if context.attempt is None:
            block("add_thread_item")
        await super().add_thread_item(thread_id, item, context)


class Notebook(Blocking):
    """With a store of its own."""

    def __init__(self, path: str) -> None:
        super().__init__(BlockingStore(path))


class ThreadBound(ScriptedAnswers):
    """Has in its constructor made what only the same thread may use."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)
        self.notes = sqlite3.connect(":memory:")
        self.notes.execute("CREATE TABLE notes (text)")

    async def transcribe(self, audio_input: AudioInput, context: Any) -> TranscriptionResult:
        self.notes.execute("INSERT INTO notes VALUES ('heard')")
        (count,) = self.notes.execute("SELECT count(*) FROM notes").fetchone()
        return TranscriptionResult(text=str(count))

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        raise NotImplementedError
        yield
