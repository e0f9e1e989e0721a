"""ChatKit servers that answer as the message asks, for the tests of journal, relay, stop and claim.

The message is a `Script` as JSON: the same server then serves an API and a worker in one event loop, and processes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    UserMessageTextContent,
)

GATE_POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer: `deltas` pieces of text, in `parts` content parts by turns, so that no two neighbours are merged."""

    deltas: int = 10
    parts: int = 2
    every_seconds: float = 0
    gate: str | None = None
    """A folder: before delta number n of `holds`, attempt a waits for the file `n` or `a-n` in it."""
    holds: list[int] = field(default_factory=list)
    hold_attempts: int = 1_000
    """Attempts above this wait for nothing."""
    blocks_attempt: int = 0
    """This attempt waits without letting its event loop go on, and says so in the file `blocked`."""
    swallow: Literal["never", "once", "always", "raise"] = "never"
    """What the server does with a cancellation: let it through, go on in spite of it, or raise an error instead."""
    items_before: int = 0
    """Whole messages that are done before the answer begins."""
    pad: int = 0
    """Characters that lengthen each delta."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, message: UserMessageItem | None) -> Script:
        text = (
            "".join(part.text for part in message.content if isinstance(part, UserMessageTextContent))
            if message
            else ""
        )
        return cls(**json.loads(text)) if text.startswith("{") else cls()

    def piece(self, attempt: int, number: int) -> str:
        return f"{attempt}.{number}{'.' * self.pad} "

    def whole(self, attempt: int) -> list[str]:
        """The text of each part when the answer of this attempt is whole."""
        return [
            "".join(self.piece(attempt, number) for number in range(part, self.deltas, self.parts))
            for part in range(self.parts)
        ]


def open_gate(gate: Path, *numbers: int | str) -> None:
    gate.mkdir(exist_ok=True)
    for number in numbers:
        (gate / str(number)).touch()


class ScriptedAnswers(ChatKitServer[Any]):
    """Answers each message as its script says."""

    def __init__(self, store: Store[Any] | None = None) -> None:
        super().__init__(cast(Store[Any], store))

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        script = Script.of(input_user_message)
        attempt = context.attempt
        for _ in range(script.items_before):
            yield ThreadItemDoneEvent(item=self._item(thread, context, [f"{attempt} before"]))
        texts = [""] * script.parts
        item = self._item(thread, context, texts)
        yield ThreadItemAddedEvent(item=item)
        for number in range(script.deltas):
            await self._pause(script, attempt, number)
            part, piece = number % script.parts, script.piece(attempt, number)
            texts[part] += piece
            yield ThreadItemUpdatedEvent(
                item_id=item.id,
                update=AssistantMessageContentPartTextDelta(content_index=part, delta=piece),
            )
        content = [AssistantMessageContent(text=text, annotations=[]) for text in texts]
        yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))

    def _item(self, thread: ThreadMetadata, context: Any, texts: list[str]) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=text, annotations=[]) for text in texts],
        )

    async def _pause(self, script: Script, attempt: int, number: int) -> None:
        swallowed = 0
        while True:
            try:
                await self._wait(script, attempt, number)
            except asyncio.CancelledError as error:
                swallowed += 1
                if script.swallow == "raise":
                    raise RuntimeError("cancelled") from error
                if script.swallow == "never" or (script.swallow == "once" and swallowed > 1):
                    raise
                continue
            return

    async def _wait(self, script: Script, attempt: int, number: int) -> None:
        if script.every_seconds:
            await asyncio.sleep(script.every_seconds)
        if number in script.holds and script.gate is not None and attempt <= script.hold_attempts:
            gates = [Path(script.gate, name) for name in (str(number), f"{attempt}-{number}")]
            while not any(gate.exists() for gate in gates):
                if attempt == script.blocks_attempt:
                    Path(script.gate, "blocked").touch()
                    time.sleep(GATE_POLL_SECONDS)  # on purpose
                else:
                    await asyncio.sleep(GATE_POLL_SECONDS)


class ChangingAnswers(ScriptedAnswers):
    """Changes, before a later answer in a thread, what is there: its title, its metadata, and three items."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        page = await self.store.load_thread_items(thread.id, None, 20, "asc", context)
        older = [item for item in page.data if isinstance(item, AssistantMessageItem)]
        if older:
            counted, gone, again = older[:3]
            thread.title = f"{thread.title or ''}+"
            thread.metadata["answers"] = thread.metadata.get("answers", 0) + 1
            counted.content[0].text += "+"
            yield ThreadItemReplacedEvent(item=counted)
            yield ThreadItemRemovedEvent(item_id=gone.id)
            yield ThreadItemDoneEvent(item=again)
        async for event in super().respond(thread, input_user_message, context):
            yield event
