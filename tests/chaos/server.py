"""The ChatKit server of the chaos runs: answers each message as the script in it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from tests.chaos.script import Script, text_of


class ChaosServer(ChatKitServer[Any]):
    """Knows the message and nothing else: every attempt of a run gives the same texts."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        script = Script.parse(text_of(input_user_message.model_dump()))
        for number in range(script.items):
            if number:
                yield ProgressUpdateEvent(text=f"{number} of {script.items}")
                await asyncio.sleep(script.quiet_ms / 1000)
            item = self._item(thread, context, "")
            yield ThreadItemAddedEvent(item=item)
            for piece in script.pieces(number):
                await asyncio.sleep(script.pause_ms / 1000)
                update = AssistantMessageContentPartTextDelta(content_index=0, delta=piece)
                yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
            item = _with_text(item, script.streamed(number))
            yield ThreadItemDoneEvent(item=item)
        if script.revised:
            yield ThreadItemReplacedEvent(item=_with_text(item, script.text(number)))

    def _item(self, thread: ThreadMetadata, context: Any, text: str) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=text)],
        )


def _with_text(item: AssistantMessageItem, text: str) -> AssistantMessageItem:
    return item.model_copy(update={"content": [AssistantMessageContent(text=text)]})
