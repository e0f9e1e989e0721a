"""What a journal's entries hold, as the SDK serialises it. Apart from the feeder, which would take long to load it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    Page,
    Thread,
    ThreadCreatedEvent,
    ThreadItemAddedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)

from bench.systems.server import BenchServer

_PLACE = "@place@"

_server = BenchServer(cast(Store[Any], None))


@dataclass(frozen=True, slots=True)
class FeederEvents:
    """Of one run: what admission writes, the item, and what stands before and after the text of a delta of it."""

    run_id: str
    created: str
    added: str
    before: str
    after: str


def events_of(run_id: str, thread_id: str) -> FeederEvents:
    now = datetime.now()
    item = AssistantMessageItem(
        id=f"msg_{run_id}",
        thread_id=thread_id,
        created_at=now,
        content=[AssistantMessageContent(text="", annotations=[])],
    )
    delta = AssistantMessageContentPartTextDelta(content_index=0, delta=_PLACE)
    before, _, after = _text(ThreadItemUpdatedEvent(item_id=item.id, update=delta)).partition(_PLACE)
    thread = Thread(id=thread_id, created_at=now, items=Page())
    created = _text(ThreadCreatedEvent(thread=thread))
    return FeederEvents(run_id, created, _text(ThreadItemAddedEvent(item=item)), before, after)


def _text(event: ThreadStreamEvent) -> str:
    return _server._serialize(event).decode()
