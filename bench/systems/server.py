"""The ChatKit server of the benchmarks: needs no model, and answers at a pace or as fast as it goes."""

from __future__ import annotations

import asyncio
import json
import random
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

from bench.systems.timestamps import stamp

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
    paced: bool = False
    """Deltas at the process's pace, without an end; nothing above counts."""
    set_pace: float | None = None
    """Not an answer: from now on all that are paced make so many deltas a second each."""

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
        if script.set_pace is not None:
            PACE.set(script.set_pace)
            return
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="", annotations=[]) for _ in range(script.parts)],
        )
        yield ThreadItemAddedEvent(item=item)
        if script.paced:
            async for delta in PACE.stamps():
                yield _delta(item, 0, delta)
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
            yield _delta(item, part, delta)
        content = [AssistantMessageContent(text="".join(text), annotations=[]) for text in texts]
        yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))

    def get_stream_options(self, thread: ThreadMetadata, context: Any) -> StreamOptions:
        return StreamOptions(allow_cancel=True)


class Pace:
    """How fast the paced answers of this process are."""

    def __init__(self) -> None:
        self._per_second = 0.0
        self._changed = asyncio.Event()

    def set(self, per_second: float) -> None:
        self._per_second = per_second
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def stamps(self) -> AsyncIterator[str]:
        """A stamp whenever one is due; what is late is made up for, until the pace changes."""
        while True:
            changed, per_second = self._changed, self._per_second
            if not per_second:
                await changed.wait()
                continue
            due_at = time.monotonic() + random.random() / per_second  # noqa: S311  # not all at the same moment
            while changed is self._changed:
                await asyncio.sleep(max(0.0, due_at - time.monotonic()))
                yield stamp()
                due_at += 1 / per_second


PACE = Pace()


def _delta(item: AssistantMessageItem, part: int, delta: str) -> ThreadItemUpdatedEvent:
    update = AssistantMessageContentPartTextDelta(content_index=part, delta=delta)
    return ThreadItemUpdatedEvent(item_id=item.id, update=update)
