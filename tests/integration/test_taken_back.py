"""What a lost attempt has changed of older things is as it was before, in the thread and on every screen.

Its next attempt changes nothing, so that no event but those of the taking back can mend a screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    ProgressUpdateEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import asking
from tests.support.system import _working, create, message, running

Events = AsyncIterator[ThreadStreamEvent]


class ChangesOnce(ChatKitServer[Any]):
    """Begins a thread with three answers. A first attempt after that changes them as its message says, and never ends;
    a later one only answers."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        way = input_user_message.content[0].text if input_user_message else ""
        if way == "begin":
            thread.title = "As it was"
            for text in ("one", "two", "three"):
                yield ThreadItemDoneEvent(item=self._answer(thread, text, context))
            return
        if context.attempt == 1:
            async for event in self._change(way, thread, context):
                yield event
            thread.title = "Another"
            yield ProgressUpdateEvent(text="it has changed")
            await asyncio.Event().wait()
        yield ThreadItemDoneEvent(item=self._answer(thread, "four", context))

    async def _change(self, way: str, thread: ThreadMetadata, context: Any) -> Events:
        items = (await self.store.load_thread_items(thread.id, None, 10, "asc", context)).data
        _, one, two, three, *_ = items
        changed = one.model_copy(update={"content": [AssistantMessageContent(text="changed")]})
        if way == "by events":
            yield ThreadItemReplacedEvent(item=changed)
            yield ThreadItemRemovedEvent(item_id=two.id)
            yield ThreadItemDoneEvent(item=three)
        else:
            await self.store.save_item(thread.id, changed, context)
            await self.store.delete_thread_item(thread.id, two.id, context)

    def _answer(self, thread: ThreadMetadata, text: str, context: Any) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=text)],
        )


def server() -> ChatKitServer[Any]:
    return ChangesOnce(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["by events", "in the store"])
async def test_what_a_lost_attempt_has_changed_is_as_it_was_on_every_screen(
    settings: Settings, way: str
) -> None:
    """On that of who has followed the run, and of who has loaded the thread while the attempt ran."""
    settings = settings.model_copy(update={"drain_seconds": 0})
    async with running(settings, server, workers=0) as system:
        alice = await system.caller()
        async with _working(create_worker(settings, server())):
            thread_id = (await alice.stream(create("begin"))).thread_id
        before = await alice.items(thread_id)
        async with asking(alice, message(thread_id, way)) as asker:
            async with _working(create_worker(settings, server())):
                await asker.until("it has changed", lambda answer: answer.of_type("progress_update"))
                meanwhile = await alice.items(thread_id)
                assert [texts(item)[0] for item in meanwhile[1:3]] == ["changed", "three"]
            async with _working(create_worker(settings, server())):
                answer = await asker.finished()
        stored = await alice.items(thread_id)
        assert [texts(item)[0] for item in stored] == ["begin", "one", "two", "three", way, "four"]
        for loaded in (before, meanwhile):
            assert shown(answer, loaded) == {item["id"]: item for item in stored}
        told = [event["thread"]["title"] for event in answer.of_type("thread.updated")]
        assert told == ["Another", "As it was"]
