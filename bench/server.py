"""The ChatKit server of the benchmarks: needs no model, and answers at a pace or as fast as it goes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    StreamOptions,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

DELTA_CHARS = 21


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer: `deltas` of 21 characters, each of them the time at which it was made."""

    deltas: int = 1
    per_second: float = 0
    """0: as fast as they go."""
    hold_seconds: float = 0
    """Before the first delta, after the item is shown."""
    parts: Literal[1, 2] = 1
    """With 2, deltas go to two content parts by turns, so that no two neighbours can be merged."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class BenchServer(ChatKitServer[Any]):
    """The same class for Relaykit and for the in-process baseline."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        script = Script(**json.loads(input_user_message.content[0].text))
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="", annotations=[]) for _ in range(script.parts)],
        )
        yield ThreadItemAddedEvent(item=item)
        if script.hold_seconds:
            await asyncio.sleep(script.hold_seconds)
        texts: list[list[str]] = [[] for _ in range(script.parts)]
        started_at = time.monotonic()
        for number in range(script.deltas):
            if script.per_second:
                await asyncio.sleep(max(0.0, started_at + number / script.per_second - time.monotonic()))
            part = number % script.parts
            delta = stamp()
            texts[part].append(delta)
            yield ThreadItemUpdatedEvent(
                item_id=item.id,
                update=AssistantMessageContentPartTextDelta(content_index=part, delta=delta),
            )
        content = [AssistantMessageContent(text="".join(text), annotations=[]) for text in texts]
        yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        return StreamOptions(allow_cancel=True)


def stamp() -> str:
    """CLOCK_MONOTONIC in ns, which all processes of a machine share, as a delta's text. Load clients count the tildes."""
    return f"~{time.monotonic_ns():019d} "
