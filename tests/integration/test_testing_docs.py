"""What README.md and docs/testing-your-server.md show of `relaykit.testing` runs, as it stands there."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    block
    for page in ("README.md", "docs/testing-your-server.md")
    for block in BLOCK.findall((ROOT / page).read_text())
    if "from relaykit import testing" in block
]
SHOP = """
from datetime import datetime
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent, AssistantMessageContentPartTextDelta, AssistantMessageItem, ClientEffectEvent,
    ClientToolCallItem, ThreadItemAddedEvent, ThreadItemDoneEvent, ThreadItemUpdatedEvent, WidgetItem,
)
from chatkit.widgets import Card, Text

class ShopServer(ChatKitServer):
    def named(self, kind, thread, context):
        item_id = self.store.generate_item_id(kind, thread, context)
        return {"id": item_id, "thread_id": thread.id, "created_at": datetime.now()}

    def message(self, thread, context, text):
        content = [AssistantMessageContent(text=text)]
        return AssistantMessageItem(**self.named("message", thread, context), content=content)

    async def respond(self, thread, input_user_message, context):
        said = input_user_message.content[0].text if input_user_message else "In Rome"
        if said.startswith("Where"):
            call = {"call_id": "1", "name": "locate", "arguments": {}}
            yield ThreadItemDoneEvent(item=ClientToolCallItem(**self.named("tool_call", thread, context), **call))
        elif said.startswith("Sell"):
            widget = Card(children=[Text(value="Buy?")])
            yield ThreadItemDoneEvent(item=WidgetItem(**self.named("message", thread, context), widget=widget))
        elif said == "count":
            item = self.message(thread, context, "")
            yield ThreadItemAddedEvent(item=item)
            for number in "123":
                update = AssistantMessageContentPartTextDelta(content_index=0, delta=number + " ")
                yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
            done = self.message(thread, context, "1 2 3 ")
            done.id = item.id
            yield ThreadItemDoneEvent(item=done)
        else:
            text = "In Rome." if said == "In Rome" else "Hello!"
            yield ThreadItemDoneEvent(item=self.message(thread, context, text))

    async def action(self, thread, action, sender, context):
        yield ClientEffectEvent(name="confetti")
"""


@pytest.fixture(autouse=True)
def _no_shop() -> Iterator[None]:
    """Other tests have modules of the same names."""
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"def (\w+)", block)[0])
async def test_a_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "chat.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(block, "the page", "exec"), found)
    tests = [value for name, value in found.items() if name.startswith("test_")]
    assert len(tests) == 1
    assert inspect.iscoroutinefunction(tests[0])
    await tests[0]()


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 5
