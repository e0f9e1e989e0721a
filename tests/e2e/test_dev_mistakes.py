"""Mistakes in a site's own file, under `relaykit dev`: each is told with file and line, and the next file is loaded.

One `relaykit dev` runs for all of them, and each test saves the file that it is about.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.processes.local_mode import LocalMode, signed_in, temporary_data_dir, wait_until
from tests.support.sites.dev_site import NAME, Site
from tests.support.system import ROOT, Answer, Caller, create

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="local mode's processes end with it on Linux alone"
)

FILE = '''
"""A shop's chat."""

from datetime import datetime

from chatkit.server import ChatKitServer
from chatkit.types import *
from chatkit.widgets import Card


class ShopServer(ChatKitServer):
    RESPOND

    def message(self, thread, text, **more):
        item_id = self.store.generate_item_id("message", thread, {})
        content = [AssistantMessageContent(text=text)]
        fields = {"id": item_id, "thread_id": thread.id, "created_at": datetime.now(), "content": content}
        return AssistantMessageItem(**{**fields, **more})


END
'''
WORKS = 'async def respond(self, thread, item, context):\n yield ThreadItemDoneEvent(item=self.message(thread, "WORD"))'


@dataclass
class Mistake:
    """`respond` and `end` are what the file has of it; `# HERE` is in the line that is told, with `words`."""

    name: str
    words: str
    respond: str = WORKS
    end: str = ""

    def write(self, site: Site) -> int:
        """Saves the file; the number of the line that is to be told."""
        text = FILE.replace("RESPOND", self.respond.replace("\n", "\n    ")).replace("END", self.end)
        fresh = site.file.with_suffix(".tmp")
        fresh.write_text(text)
        fresh.replace(site.file)
        return next((number for number, line in enumerate(text.splitlines(), 1) if "# HERE" in line), 0)


AT_LOAD = [
    Mistake(
        "respond has no yield",
        "respond() in FILE:LINE has no `yield`: it has to be an async generator, which yields events",
        "async def respond(self, thread, item, context):  # HERE\n return self.message(thread, 'hi')",
    ),
    Mistake(
        "respond is not async",
        "respond() in FILE:LINE is a generator without `async`: `async def` is what the SDK calls",
        "def respond(self, thread, item, context):  # HERE\n yield self.message(thread, 'hi')",
    ),
    Mistake(
        "respond takes other arguments",
        "respond() in FILE:LINE, called with thread, item, context: too many positional arguments",
        "async def respond(self, thread, item):  # HERE\n yield self.message(thread, 'hi')",
    ),
    Mistake("an import raises", "KeyError at FILE:LINE in <module>", end="PRICES = {}['apple']  # HERE"),
    Mistake(
        "a function of it raises when it is imported",
        "ZeroDivisionError at FILE:LINE in rate",
        end="def rate(of):\n    return 1 / of  # HERE\n\n\nRATE = rate(0)",
    ),
    Mistake(
        "the factory raises, deep in a library",
        "JSONDecodeError at FILE:LINE in settings",
        end="import json\n\n\ndef settings():\n    return json.loads('{')  # HERE\n\n\n"
        "class ShopServer(ShopServer):\n    def __init__(self, *given):\n        settings()",
    ),
    Mistake(
        "a module is absent",
        "ModuleNotFoundError: No module named 'no_such_module'",
        end="import no_such_module",
    ),
    Mistake(
        "it is no Python", "SyntaxError: '(' was never closed (chat.py, line LINE)", end="print(  # HERE"
    ),
]
AT_RUN = [
    Mistake(
        "yields a dict",
        "respond() in FILE:LINE yielded a dict, not a ThreadStreamEvent",
        "async def respond(self, thread, item, context):\n yield {'type': 'notice'}  # HERE",
    ),
    Mistake(
        "yields a text",
        "respond() in FILE:LINE yielded a str, not a ThreadStreamEvent",
        "async def respond(self, thread, item, context):\n yield 'hello'  # HERE",
    ),
    Mistake(
        "returns a coroutine",
        "made() in FILE:LINE gave a coroutine, not an async generator: it has to yield its events",
        "def respond(self, thread, item, context):\n return self.made(thread)\n\n"
        "async def made(self, thread):  # HERE\n return self.message(thread, 'hi')",
    ),
    Mistake(
        "returns a list",
        "respond() in FILE:LINE gave a list, not an async generator: it has to yield its events",
        "def respond(self, thread, item, context):  # HERE\n return [self.message(thread, 'hi')]",
    ),
    Mistake(
        "yields an update of no kind",
        "respond() in FILE:LINE yielded a dict as an update, not a ThreadItemUpdate of an item",
        "async def respond(self, thread, item, context):\n"
        " yield ThreadItemUpdatedEvent.model_construct(item_id='x', update={'type': 'text'})  # HERE",
    ),
    Mistake(
        "builds an update that there is not",
        " validation errors for ThreadItemUpdatedEvent update.",
        "async def respond(self, thread, item, context):\n"
        " yield ThreadItemUpdatedEvent(item_id='x', update={'type': 'text'})  # HERE",
    ),
]
PASSED_ON = [
    Mistake(
        "yields an item of another thread",
        "respond() in FILE:LINE yielded an item of another thread, which is stored in the run's own",
        "async def respond(self, thread, item, context):\n"
        " yield ThreadItemDoneEvent(item=self.message(thread, 'hi', thread_id='another'))  # HERE",
    ),
    Mistake(
        "yields an update that does not fit its item",
        "respond() in FILE:LINE yielded a AssistantMessageContentPartTextDelta for an item of the type widget: "
        "no client shows it",
        "async def respond(self, thread, item, context):\n"
        " fields = {'id': 'w', 'thread_id': thread.id, 'created_at': datetime.now()}\n"
        " widget = WidgetItem(widget=Card(children=[]), **fields)\n"
        " yield ThreadItemAddedEvent(item=widget)\n"
        " delta = AssistantMessageContentPartTextDelta(content_index=0, delta='hi')\n"
        " yield ThreadItemUpdatedEvent(item_id='w', update=delta)  # HERE\n"
        " yield ThreadItemDoneEvent(item=widget)",
    ),
    Mistake(
        "yields an update of an item that it has not added",
        "respond() in FILE:LINE yielded an update of an item that has not been added: no client shows it",
        "async def respond(self, thread, item, context):\n"
        " message = self.message(thread, 'hi')\n"
        " delta = AssistantMessageContentPartTextDelta(content_index=0, delta='hi')\n"
        " yield ThreadItemUpdatedEvent(item_id=message.id, update=delta)  # HERE\n"
        " yield ThreadItemDoneEvent(item=message)",
    ),
]


@dataclass
class Dev:
    site: Site
    mode: LocalMode
    address: str

    async def until(self, line: str, after: int) -> str:
        """Waits for the line in what is said from there on; what is said from there on."""
        await asyncio.to_thread(wait_until, line, lambda: line in self.mode.said[after:])
        return self.mode.said[after:]

    async def ask(self) -> tuple[Answer, Caller]:
        caller = await signed_in(self.address)
        return await caller.stream(create("hello")), caller


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    site = Site(tmp_path_factory.mktemp("dev") / "site")
    with temporary_data_dir() as data_dir:
        mode = LocalMode(
            data_dir, (sys.executable, "-m", "relaykit", "dev", NAME), site.folder, PYTHONPATH=str(ROOT)
        )
        try:
            yield Dev(site, mode, mode.ready())
        finally:
            mode.kill()


def told(mistake: Mistake, site: Site, line: int) -> str:
    return mistake.words.replace("FILE", str(site.file)).replace("LINE", str(line))


def by_name(mistakes: list[Mistake]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mistake", mistakes, ids=lambda mistake: mistake.name)


@by_name(AT_LOAD)
async def test_a_mistake_at_load_is_told_and_the_code_before_goes_on(dev: Dev, mistake: Mistake) -> None:
    word = re.sub(r"\W", "", mistake.name)
    begin = len(dev.mode.said)
    Mistake("", "", WORKS.replace("WORD", word)).write(dev.site)
    await dev.until("\nReloaded.\n", begin)
    begin = len(dev.mode.said)
    line = mistake.write(dev.site)
    said = await dev.until("Not reloaded, the code that was loaded before goes on: ", begin)
    assert told(mistake, dev.site, line) in said
    assert "ended with code 2 before it was ready" in said
    answer, _ = await dev.ask()
    assert (answer.end, word in answer.raw.decode()) == ("completed", True)


@by_name(AT_RUN)
async def test_a_mistake_at_run_is_told_in_the_terminal_and_in_the_chat(dev: Dev, mistake: Mistake) -> None:
    """The run's error is the same as in a deployment, where the chat shows no text."""
    begin = len(dev.mode.said)
    line = mistake.write(dev.site)
    await dev.until("\nReloaded.\n", begin)
    answer, caller = await dev.ask()
    error = answer.events[-1]
    assert (answer.end, error["type"], error["code"], error["allow_retry"]) == (
        "failed",
        "error",
        "stream.error",
        True,
    )
    words = told(mistake, dev.site, line)
    assert words in error["message"]
    said = await dev.until("action=server_failed", begin)
    assert words.removesuffix(" update.") in said
    assert f"{dev.site.file}:{line}" in said or f'"{dev.site.file}", line {line}' in said
    run = (await caller.get(f"/runs/{answer.run_id}")).json()
    assert (run["status"], run["error"]) == ("failed", "stream.error")


@by_name(PASSED_ON)
async def test_what_the_sdk_takes_is_told_once_and_goes_on(dev: Dev, mistake: Mistake) -> None:
    """Such a server runs on ChatKit alone, and so it does here; the chat shows a notice beside the answer."""
    begin = len(dev.mode.said)
    line = mistake.write(dev.site)
    await dev.until("\nReloaded.\n", begin)
    answer, _ = await dev.ask()
    assert answer.end == "completed"
    words = told(mistake, dev.site, line)
    notices = [event["message"] for event in answer.events if event["type"] == "notice"]
    assert notices == [words]
    said = await dev.until("action=server_mistake", begin)
    assert said.count(words) == 1
