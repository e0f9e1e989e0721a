"""Half an emoji in whatever a server yields costs itself: not the run, not the whole and good item behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chatkit.errors import CustomStreamError
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientEffectEvent,
    ClientToolCallItem,
    CustomTask,
    NoticeEvent,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    WidgetRootUpdated,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
)
from chatkit.widgets import Card, Text

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import Caller, create, message, running

Events = AsyncIterator[ThreadStreamEvent]

FIRST, SECOND = "\ud83d", "\ude00"
LONE = "\ufffd"


class Markup(str):
    """As a template's output is."""


class Halves(ChatKitServer[Any]):
    """Says half an emoji in the way that the message names, and then answers with a whole one."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        way = input_user_message.content[0].text if input_user_message else ""
        fields: dict[str, Any] = {
            "id": self.store.generate_item_id("message", thread, context),
            "thread_id": thread.id,
            "created_at": datetime.now(),
        }
        text = f"cut {FIRST}"
        content = [AssistantMessageContent(text=text)]
        item = AssistantMessageItem(**fields, content=[AssistantMessageContent(text="")])
        match way:
            case "pair" | "lone" | "waits":
                yield ThreadItemAddedEvent(item=item)
                for delta in ("Well ", FIRST, *([SECOND] if way == "pair" else []), "done"):
                    update = AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
                    yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
                if way == "waits":
                    await asyncio.Event().wait()
                whole = f"Well {FIRST}{SECOND if way == 'pair' else ''}done"
                part = AssistantMessageContent(text=whole)
                update = AssistantMessageContentPartDone(content_index=0, content=part)
                yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
                yield ThreadItemDoneEvent(item=item.model_copy(update={"content": [part]}))
            case "item":
                yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))
            case "added":
                yield ThreadItemAddedEvent(item=item.model_copy(update={"content": content}))
                yield ThreadItemDoneEvent(item=item)
            case "replaced":
                yield ThreadItemDoneEvent(item=item)
                yield ThreadItemReplacedEvent(item=item.model_copy(update={"content": content}))
            case "id":
                yield ThreadItemDoneEvent(item=item.model_copy(update={"id": text}))
            case "call":
                call = {"call_id": "c", "name": "ask", "arguments": {text: [text]}}
                yield ThreadItemDoneEvent(item=ClientToolCallItem(**fields, **call))
                return
            case "widget":
                card = Card(children=[Text(id="t", value=text)])
                yield ThreadItemAddedEvent(item=WidgetItem(**fields, widget=card))
                yield ThreadItemUpdatedEvent(item_id=item.id, update=WidgetRootUpdated(widget=card))
                yield ThreadItemDoneEvent(item=WidgetItem(**fields, widget=card, copy_text=text))
            case "workflow":
                task = CustomTask(title=text)
                workflow = WorkflowItem(**fields, workflow=Workflow(type="custom", tasks=[]))
                yield ThreadItemAddedEvent(item=workflow.model_copy(deep=True))
                update = WorkflowTaskAdded(task_index=0, task=task)
                yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
                workflow.workflow.tasks.append(task)
                yield ThreadItemDoneEvent(item=workflow)
            case "progress":
                yield ProgressUpdateEvent(text=text)
            case "notice":
                yield NoticeEvent(level="info", message=text, title=text)
            case "effect":
                yield ClientEffectEvent(name="x", data={"deep": [{"text": text}, {text}]})
            case "title":
                thread.title = text
                thread.metadata = {**thread.metadata, "cut": text, "rendered": Markup(text)}
            case "store":
                await self.store.add_thread_item(
                    thread.id, item.model_copy(update={"content": content}), context
                )
            case "error":
                raise CustomStreamError(text)
        fields["id"] = self.store.generate_item_id("message", thread, context)
        yield ThreadItemDoneEvent(
            item=AssistantMessageItem(**fields, content=[AssistantMessageContent(text="😀")])
        )


WAYS = [
    "pair",
    "lone",
    "item",
    "added",
    "replaced",
    "id",
    "widget",
    "workflow",
    "progress",
    "notice",
    "effect",
    "title",
]


async def texts(alice: Caller, thread_id: str) -> list[str]:
    items = await alice.items(thread_id)
    return [item["content"][0]["text"] for item in items if item["type"] == "assistant_message"]


@pytest.mark.parametrize("store", ["postgres", "own"])
async def test_half_an_emoji_costs_itself_and_nothing_else(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"chatkit_store": store})
    notebook = SqliteStore(str(tmp_path / "notebook.db"))
    async with running(settings, lambda: Halves(notebook)) as system:
        alice = await system.caller()
        # a store of the site's own writes the thread, and what the server itself hands to it, in its own way
        for way in WAYS if store == "own" else [*WAYS, "store"]:
            if store == "own" and way == "title":
                continue
            answer = await alice.stream(create(way))
            assert (answer.end, answer.of_type("error")) == ("completed", []), way
            said = await texts(alice, answer.thread_id)
            assert said[-1] == "😀", way
            assert FIRST not in answer.raw.decode()
            match way:
                case "pair":
                    assert answer.text == said[0] == "Well 😀done"
                case "lone":
                    assert answer.text == said[0] == f"Well {LONE}done"
                case "item" | "replaced" | "store":
                    assert said[0] == f"cut {LONE}"
                case "title":
                    thread = await alice.ask(
                        {"type": "threads.get_by_id", "params": {"thread_id": answer.thread_id}}
                    )
                    assert thread["title"] == f"cut {LONE}"
                case "id":
                    pass
                case _:
                    assert f"cut {LONE}" in answer.raw.decode(), way
        answer = await alice.stream(create("call"))
        assert answer.of_type("thread.item.done")[-1]["item"]["arguments"] == {f"cut {LONE}": [f"cut {LONE}"]}
        answer = await alice.stream(create("error"))
        assert answer.of_type("error")[0]["message"] == f"cut {LONE}"


@pytest.mark.parametrize("store", ["postgres", "own"])
async def test_what_a_stop_keeps_of_an_answer_with_half_an_emoji_is_what_was_shown(
    settings: Settings, store: str, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"chatkit_store": store})
    notebook = SqliteStore(str(tmp_path / "notebook.db"))
    async with running(settings, lambda: Halves(notebook)) as system:
        alice = await system.caller()
        async with asking(alice, create("waits")) as asker:
            await asker.until("the middle", lambda answer: answer.text.endswith("done"))
            await alice.cancel(asker.run_id)
            answer = await asker.finished()
        assert answer.end == "cancelled"
        assert await texts(alice, answer.thread_id) == [answer.text] == [f"Well {LONE}done"]
        assert (await alice.stream(message(answer.thread_id, "next"))).end == "completed"


class Unserialisable(ChatKitServer[Any]):
    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        yield ProgressUpdateEvent(text="first")
        if input_user_message and input_user_message.content[0].text == "bad":
            yield ClientEffectEvent(name="x", data={"object": object()})


async def test_an_event_that_no_json_holds_fails_its_run_with_an_error_to_retry(settings: Settings) -> None:
    async with running(settings, lambda: Unserialisable(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        answer = await alice.stream(create("bad"))
        assert answer.end == "failed"
        assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
        assert (await alice.stream(create("good"))).end == "completed"
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 1
