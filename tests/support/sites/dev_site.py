"""A site's folder, as one has it under `relaykit dev`: a ChatKitServer whose file a test saves again."""

from __future__ import annotations

from pathlib import Path

SERVER = '''
"""A shop's chat."""

import asyncio
import os
from datetime import datetime
from pathlib import Path

from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
)

WORD = "WORD"
GATE = Path("gate")


class ShopServer(ChatKitServer):
    async def respond(self, thread, item, context):
        said = item.content[0].text
        print(f"asked for {said!r} in {Path.cwd().name}")
        if said == "fail":
            raise LookupError("the database has no such column")
        words = [str(n) for n in range(40)]
        if said not in ("count", "slowly"):
            words = [WORD, os.environ.get("GREETING", "none")]
        answer = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[],
        )
        yield ThreadItemAddedEvent(item=answer)
        part = AssistantMessageContentPartAdded(content_index=0, content=AssistantMessageContent(text=""))
        yield ThreadItemUpdatedEvent(item_id=answer.id, update=part)
        for number, word in enumerate(words):
            delta = AssistantMessageContentPartTextDelta(content_index=0, delta=f"{word} ")
            yield ThreadItemUpdatedEvent(item_id=answer.id, update=delta)
            while said == "count" and number == 20 and not GATE.exists():
                await asyncio.sleep(0.01)
            if said == "slowly":
                await asyncio.sleep(0.75)
        text = "".join(f"{word} " for word in words)
        done = answer.model_copy(update={"content": [AssistantMessageContent(text=text)]})
        yield ThreadItemDoneEvent(item=done)
'''
NAME = "shop.chat:ShopServer"
COUNTED = "".join(f"{number} " for number in range(40))
"""The answer to `count`, which stops half way until `open_gate`, and to `slowly`, which takes thirty seconds."""


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "shop" / "chat.py"
        self.file.parent.mkdir(parents=True)
        (self.file.parent / "__init__.py").touch()
        self.save("first")

    def save(self, word: str, more: str = "") -> None:
        """Saves the server's file as an editor does: `word` is the first of its answers, `more` goes to its end."""
        fresh = self.file.with_suffix(".tmp")
        fresh.write_text(SERVER.replace('"WORD"', f'"{word}"') + more)
        fresh.replace(self.file)

    def open_gate(self) -> None:
        (self.folder / "gate").touch()
