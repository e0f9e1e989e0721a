"""A ChatKit server whose answers keep their event loop for themselves, in the ways that a site's code does.

The message is a `Blocking` as JSON. Its answer says that it has begun, waits for its gate as it should, then blocks.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    UserMessageTextContent,
)

GATE_POLL_SECONDS = 0.005
CATASTROPHE = "a" * 60 + "!"

Way = Literal["wait", "sleep", "hang", "spin", "task", "regex", "hold", "kill"]


@dataclass(frozen=True, kw_only=True)
class Blocking:
    """How one answer blocks, for `seconds` where that has an end; all but `wait` in the attempts up to `attempts`."""

    way: Way
    gate: str
    """A file."""
    seconds: float = 0
    attempts: int = 1_000
    deltas: int = 0
    """Of `deltas`: so many, without ever waiting."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def sleep(blocking: Blocking) -> None:
    time.sleep(blocking.seconds)


def hang(blocking: Blocking) -> None:
    threading.Event().wait()


def spin(blocking: Blocking) -> None:
    while True:
        pass


def regex(blocking: Blocking) -> None:
    """Keeps the interpreter's lock for longer than anybody lives."""
    re.match(r"(a+)+$", CATASTROPHE)


def hold(blocking: Blocking) -> None:
    """Keeps the interpreter's lock for about so long, in one call into C."""
    numbers, started_at = 1_000_000, time.perf_counter()
    sum(range(numbers))
    sum(range(int(numbers * blocking.seconds / (time.perf_counter() - started_at))))


def kill(blocking: Blocking) -> None:
    """As a kernel does whose memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)


CALLS: dict[Way, Callable[[Blocking], None]] = {
    "sleep": sleep,
    "hang": hang,
    "spin": spin,
    "regex": regex,
    "hold": hold,
    "kill": kill,
}


class BlockingAnswers(ChatKitServer[Any]):
    """Answers each message as it says."""

    def __init__(self, store: Store[Any] | None = None) -> None:
        super().__init__(cast(Store[Any], store))

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        assert input_user_message is not None
        (part,) = input_user_message.content
        assert isinstance(part, UserMessageTextContent)
        blocking = Blocking(**json.loads(part.text))
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="")],
        )
        yield ProgressUpdateEvent(text=f"begun {context.attempt}")
        while not Path(blocking.gate).exists():
            await asyncio.sleep(GATE_POLL_SECONDS)
        if context.attempt <= blocking.attempts:
            await self._block(blocking)
        yield ThreadItemAddedEvent(item=item)
        for number in range(blocking.deltas):
            yield ThreadItemUpdatedEvent(
                item_id=item.id,
                update=AssistantMessageContentPartTextDelta(content_index=0, delta=f"{number} "),
            )
        item.content = [AssistantMessageContent(text=f"answer {context.attempt}")]
        yield ThreadItemDoneEvent(item=item)

    async def _block(self, blocking: Blocking) -> None:
        if blocking.way == "task":  # as agents do with a tool
            await asyncio.create_task(self._tool(blocking))
        elif blocking.way in CALLS:
            CALLS[blocking.way](blocking)

    async def _tool(self, blocking: Blocking) -> None:
        await asyncio.sleep(0)
        spin(blocking)
