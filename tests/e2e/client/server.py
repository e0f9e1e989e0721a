"""Answers `<words> at <words a second>` with that, and tells the page context that came along in the first word.

With ` held <number> <file>` behind it, the answer stops before that word until the file exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from relaykit.shared.identity import RequestContext


def held(gate: Path, words: int = 200, per_second: int = 40) -> str:
    """What asks for an answer that stops in its middle until the file `gate` exists."""
    return f"{words} at {per_second} held {words // 2} {gate}"


class ClientServer(ChatKitServer[RequestContext]):
    async def respond(
        self, thread: ThreadMetadata, item: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert item is not None
        asked, _, held = "".join(part.text for part in item.content).partition(" held ")
        words, _, per_second = asked.partition(" at ")
        hold, _, gate = held.partition(" ")
        message = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[],
        )
        yield ThreadItemAddedEvent(item=message)
        text = f"{_asked_from(context)}: "
        yield _delta(message, text)
        started_at = asyncio.get_running_loop().time()
        for number in range(int(words)):
            while str(number) == hold and not Path(gate).exists():
                await asyncio.sleep(0.02)
            await asyncio.sleep(started_at + number / int(per_second) - asyncio.get_running_loop().time())
            word = f"wörd{number} "
            text += word
            yield _delta(message, word)
        done = message.model_copy(update={"content": [AssistantMessageContent(text=text)]})
        yield ThreadItemDoneEvent(item=done)


def _asked_from(context: RequestContext) -> str:
    page: dict[str, Any] = context.metadata.get("pageContext") or {}
    return f"{page.get('path')} {page.get('headings')}"


def _delta(message: AssistantMessageItem, text: str) -> ThreadItemUpdatedEvent:
    return ThreadItemUpdatedEvent(
        item_id=message.id, update=AssistantMessageContentPartTextDelta(content_index=0, delta=text)
    )
