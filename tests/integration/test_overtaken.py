"""An attempt that has been overtaken, or stopped, shows nothing of what that makes of its server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, RunContextWrapper, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.agents import AgentContext, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    HiddenContextItem,
    ProgressUpdateEvent,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from redis.asyncio import Redis

from relaykit.shared.journal import Field, entries
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.servers.user_servers import SqliteStore
from tests.support.system import _working, create, running

Events = AsyncIterator[ThreadStreamEvent]

HELD = "held"


class Writes(ChatKitServer[Any]):
    """In its first attempt it is held, and then writes to the store as its message says; later ones only answer."""

    go_on: asyncio.Event
    heard: list[str]

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=f"attempt {context.attempt}")],
        )
        yield ThreadItemAddedEvent(item=item)
        if context.attempt == 1:
            yield ProgressUpdateEvent(text=HELD)
            way = input_user_message.content[0].text if input_user_message else ""
            try:
                await self.go_on.wait()
                async for event in self._write(way, thread, item, context):
                    yield event
            except BaseException as error:
                self.heard.append(type(error).__name__)
                raise
        yield ThreadItemDoneEvent(item=item)

    async def _write(
        self, way: str, thread: ThreadMetadata, item: AssistantMessageItem, context: Any
    ) -> Events:
        match way:
            case "done":
                yield ThreadItemDoneEvent(item=item)
            case "replaced":
                yield ThreadItemReplacedEvent(item=item)
            case "removed":
                yield ThreadItemRemovedEvent(item_id=item.id)
            case "title":
                thread.title = "Another"
                yield ProgressUpdateEvent(text="titled")
            case "its own write":
                await self.store.add_thread_item(thread.id, item, context)
            case "its own error of it":
                try:
                    await self.store.add_thread_item(thread.id, item, context)
                except Exception as error:
                    raise RuntimeError("what a site makes of it") from error
            case "swallowed":
                try:
                    await self.store.add_thread_item(thread.id, item, context)
                except Exception:
                    yield ProgressUpdateEvent(text="never mind")
            case "in a task":
                writing = asyncio.create_task(self.store.add_thread_item(thread.id, item, context))
                await asyncio.wait({writing})
                yield ProgressUpdateEvent(text="never mind")
                writing.result()
            case "a tool":
                async for event in self._agent(thread, context):
                    yield event
            case "forbidding another attempt":
                await context.forbid_next_attempt()

    async def _agent(self, thread: ThreadMetadata, context: Any) -> Events:
        """The agents SDK makes words for its model of whatever a tool raises."""

        @function_tool
        async def note(tool_context: RunContextWrapper[AgentContext[Any]]) -> str:
            """Notes something in the thread."""
            hidden = HiddenContextItem(id="note", thread_id=thread.id, created_at=datetime.now(), content="x")
            await self.store.add_thread_item(thread.id, hidden, context)
            return "noted"

        model = ScriptedModel(
            [[function_call("note", {}, call_id="call_1")], [assistant_message("It could not be noted.")]]
        )
        turn = AgentContext(thread=thread, store=self.store, request_context=context)
        result = Runner.run_streamed(Agent(name="notes", model=model, tools=[note]), "note", context=turn)
        async for event in stream_agent_response(turn, result):
            yield event


WAYS = [
    "done",
    "replaced",
    "removed",
    "title",
    "its own write",
    "its own error of it",
    "swallowed",
    "in a task",
    "a tool",
    "forbidding another attempt",
]


async def overtake(settings: Settings, run_id: str) -> None:
    """Another worker has begun the next attempt in the row, and its start has not come to the journal."""
    database = Database(settings)
    async with database:
        assert await AttemptRuns(database).start(run_id) is not None


async def journal(settings: Settings, run_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Attempt and event of each entry."""
    async with Redis.from_url(settings.redis_url) as redis:
        found = entries(await redis.xrange(keys.journal(run_id)))
    return [
        (entry.cursor.attempt, json.loads(entry.payload)) for entry in found if entry.field is Field.EVENT
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_fence_refuses_an_attempt_is_never_shown(
    settings: Settings, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is the next attempt's, whose start entry never comes: its worker died. The one after it answers."""
    monkeypatch.setattr(Writes, "go_on", asyncio.Event(), raising=False)
    monkeypatch.setattr(Writes, "heard", [], raising=False)
    async with running(settings, lambda: Writes(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        async with asking(alice, create(way)) as asker:
            await asker.until("it is held", lambda answer: answer.of_type("progress_update"))
            await overtake(settings, asker.run_id)
            Writes.go_on.set()
            answer = await asker.finished()
        assert (answer.end, answer.of_type("error")) == ("completed", [])
        told = await journal(settings, answer.run_id)
        assert [event for _, event in told if event["type"] == "error"] == []
        shown_by_the_first = [event["type"] for attempt, event in told if attempt == 1]
        assert shown_by_the_first[0] == "thread.item.added"
        assert set(shown_by_the_first[1:]) == {"progress_update"}
        stored = await alice.items(answer.thread_id)
        assert [item["content"][0]["text"] for item in stored] == [way, "attempt 3"]
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["attempt"] == 3


# --- what a server makes of a stop


class Spoils(ChatKitServer[Any]):
    """Waits in mid-answer, and makes an error of its end, as its message says."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        yield ProgressUpdateEvent(text=HELD)
        if context.attempt == 1:
            await asyncio.Event().wait()

    async def handle_stream_cancelled(self, thread: Any, pending_items: Any, context: Any) -> None:
        raise RuntimeError("the site's own way to keep what was said")


async def test_a_stop_whose_handler_fails_is_a_stop_all_the_same(settings: Settings) -> None:
    async with running(settings, lambda: Spoils(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        async with asking(alice, create("hello")) as asker:
            await asker.until("it is held", lambda answer: answer.of_type("progress_update"))
            await alice.cancel(asker.run_id)
            answer = await asker.finished()
        assert (answer.end, answer.of_type("error")) == ("cancelled", [])
        assert (await alice.get(f"/runs/{answer.run_id}")).json()["error"] is None


class FullDisk(SqliteStore):
    """A store of the site's own, which takes no answer of a first attempt."""

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        if item.type == "assistant_message" and context.attempt == 1:
            raise OSError("no space left on device")
        await super().add_thread_item(thread_id, item, context)


async def test_a_drained_run_whose_partial_answer_cannot_be_kept_shows_no_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed back as it would be otherwise, and its next attempt answers."""
    monkeypatch.setattr(Writes, "go_on", asyncio.Event(), raising=False)
    monkeypatch.setattr(Writes, "heard", [], raising=False)
    settings = settings.model_copy(update={"chatkit_store": "own", "drain_seconds": 0})

    def server() -> ChatKitServer[Any]:
        return Writes(FullDisk(str(tmp_path / "notebook.db")))

    async with running(settings, server, workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create("hello")) as asker:
            async with _working(create_worker(settings, server())):
                await asker.until("it is held", lambda answer: answer.of_type("progress_update"))
            async with _working(create_worker(settings, server())):
                answer = await asker.finished()
    assert Writes.heard == ["CancelledError"]
    assert (answer.end, answer.of_type("error")) == ("completed", [])
