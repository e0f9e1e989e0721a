"""However a run is stopped, wherever that finds the server: its generator hears of it in its own task and context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ProgressUpdateEvent,
    StructuredInputFreeform,
    StructuredInputItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)
from redis.asyncio import Redis

from relaykit.shared.settings import Settings
from relaykit.worker.execution import produce
from relaykit.worker.main import create_worker
from relaykit.worker.publishing.journal_writer import MAX_PENDING_BYTES
from tests.integration.test_overtaken import overtake
from tests.support.clients.stream_clients import Follower, asking
from tests.support.system import Caller, _working, create, running, wait_until

Events = AsyncIterator[ThreadStreamEvent]

SPAN: ContextVar[str] = ContextVar("span", default="none")
NOTE = "The user cancelled the stream. Stop responding to the prior request."


class Scoped(ChatKitServer[Any]):
    """Holds for its whole answer what has to be left in the task and the context in which it was entered."""

    go_on: asyncio.Event
    heard: list[str]
    raises = False
    hangs = False

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[None]:
        task, token = asyncio.current_task(), SPAN.set("held")
        try:
            yield
        except BaseException as error:
            self.heard.append(type(error).__name__)
            await asyncio.sleep(0)  # time to clean up
            if self.hangs:
                await self.hang()
            if self.raises:
                raise RuntimeError("a secret") from error
            raise
        finally:
            assert asyncio.current_task() is task, "left in another task"
            SPAN.reset(token)
            self.heard.append("left")

    async def hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.heard.append("once more")

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        if context.attempt > 1:
            return
        async with self.scope():
            item = self.message(thread, context)
            match input_user_message.content[0].text if input_user_message else "store":
                case "model":
                    yield ProgressUpdateEvent(text="ready")
                    await asyncio.Event().wait()
                case "store":
                    yield ProgressUpdateEvent(text="ready")
                    await self.go_on.wait()
                    yield ThreadItemDoneEvent(item=item)
                    self.heard.append("went on")
                case "journal":
                    yield ThreadItemAddedEvent(item=item)
                    yield ProgressUpdateEvent(text="ready")
                    await self.go_on.wait()
                    text = "x" * (MAX_PENDING_BYTES // 4)
                    for _ in range(16):  # a batch that is sent takes five of them at most, and five may wait
                        update = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
                        yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
                    self.heard.append("went on")
                case "input":
                    asked = StructuredInputFreeform(id="q", question="Which?")
                    fields = self.message(thread, context).model_dump(
                        include={"id", "thread_id", "created_at"}
                    )
                    yield ThreadItemDoneEvent(item=StructuredInputItem(**fields, inputs=[asked]))
                    self.heard.clear()

    def message(self, thread: ThreadMetadata, context: Any) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="x")],
        )


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scoped, "go_on", asyncio.Event(), raising=False)
    monkeypatch.setattr(Scoped, "heard", [], raising=False)


def server() -> ChatKitServer[Any]:
    return Scoped(None)  # type: ignore[arg-type]


async def ready(asker: Follower) -> None:
    await asker.until("the server is ready", lambda answer: answer.of_type("progress_update"))


@asynccontextmanager
async def locked_thread(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """PostgreSQL is slow: no item can be written until the block ends. Gives another connection, to look on."""
    url = settings.database_url
    connection, observer = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.fetch("SELECT id FROM threads FOR UPDATE")
            yield observer
    finally:
        await connection.close()
        await observer.close()


async def writes_that_wait(connection: asyncpg.Connection) -> int:
    """By how WRITE_ITEM begins: PostgreSQL shows the first 1024 bytes of a statement."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%WITH thread AS MATERIALIZED%'"
        )
    )


async def a_write_waits(connection: asyncpg.Connection) -> None:
    await wait_until("the SDK waits for the store", lambda: writes_that_wait(connection))


async def a_write_waits_no_more(connection: asyncpg.Connection) -> None:
    async def none_waits() -> bool:
        return await writes_that_wait(connection) == 0

    await wait_until("the SDK's wait for the store was cancelled", none_waits)


@pytest.mark.parametrize("stop", ["user", "timeout", "drain", "overtaken"])
async def test_a_stop_while_the_sdk_stores_an_item_is_heard_by_the_server(
    settings: Settings, stop: str
) -> None:
    settings = settings.model_copy(
        update={"run_timeout_seconds": 8.0 if stop == "timeout" else 600.0, "drain_seconds": 0}
    )
    async with running(settings, server, workers=0) as system, AsyncExitStack() as workers:
        await workers.enter_async_context(_working(create_worker(settings, server())))
        alice = await system.caller()
        async with asking(alice, create("store")) as asker:
            await ready(asker)
            async with locked_thread(settings) as connection:
                Scoped.go_on.set()
                await a_write_waits(connection)
                match stop:
                    case "user":
                        await alice.cancel(asker.run_id)
                    case "timeout":
                        await a_write_waits_no_more(connection)
                    case "drain":
                        await workers.aclose()
                    case "overtaken":
                        await overtake(settings, asker.run_id)
            await wait_until("the server has left", lambda: "left" in Scoped.heard)
    assert Scoped.heard == ["CancelledError", "left"]


async def test_a_time_out_while_the_journal_holds_the_agent_is_heard_by_the_server(
    settings: Settings,
) -> None:
    """Redis takes no writes: the server stands at its yield, before the SDK has the event."""
    settings = settings.model_copy(update={"run_timeout_seconds": 8.0, "lease_seconds": 30})
    async with running(settings, server) as system, Redis.from_url(settings.redis_url) as redis:
        alice = await system.caller()
        async with asking(alice, create("journal")) as asker:
            await ready(asker)
            await redis.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
            try:
                Scoped.go_on.set()
                await wait_until("the server has left", lambda: "left" in Scoped.heard)
                assert Scoped.heard == ["CancelledError", "left"]
            finally:
                await redis.execute_command("CLIENT", "UNPAUSE")
            assert (await asker.finished()).end == "failed"


async def stop_in(where: str, settings: Settings, alice: Caller, asker: Follower) -> None:
    """The user's stop, while the server waits for its model or the SDK for the store."""
    await ready(asker)
    if where == "model":
        await alice.cancel(asker.run_id)
        return
    async with locked_thread(settings) as connection:
        Scoped.go_on.set()
        await a_write_waits(connection)
        await alice.cancel(asker.run_id)


@pytest.mark.parametrize("where", ["model", "store"])
async def test_what_a_server_raises_while_it_is_stopped_is_logged_and_stops_it_all_the_same(
    settings: Settings, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Scoped, "raises", True)
    async with running(settings, server) as system:
        alice = await system.caller()
        async with asking(alice, create(where)) as asker:
            await stop_in(where, settings, alice, asker)
            answer = await asker.finished()
        assert (answer.end, answer.of_type("error")) == ("cancelled", [])
        assert Scoped.heard == ["CancelledError", "left"]
    out = capsys.readouterr().out
    action = "server_failed" if where == "model" else "server_close_failed"
    [line] = [line for line in out.splitlines() if f"action={action}" in line]
    assert "error_type=RuntimeError" in line
    assert "a secret" not in out


@pytest.mark.parametrize("where", ["model", "store"])
async def test_a_server_whose_clean_up_hangs_is_cancelled_once_more(
    settings: Settings, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the stop has found it."""
    monkeypatch.setattr(Scoped, "hangs", True)
    monkeypatch.setattr(produce, "STOP_AGAIN_SECONDS", 0.3)
    async with running(settings, server) as system:
        alice = await system.caller()
        async with asking(alice, create(where)) as asker:
            await stop_in(where, settings, alice, asker)
            assert (await asker.finished()).end == "cancelled"
    assert Scoped.heard == ["CancelledError", "once more", "left"]


async def test_a_store_that_fails_the_sdk_leaves_no_server_to_the_collector(settings: Settings) -> None:
    """The SDK makes an error event of it and ends: the server at its yield is closed in its own task."""
    async with running(settings, server) as system:
        alice = await system.caller()
        async with asking(alice, create("store")) as asker:
            await ready(asker)
            connection = await asyncpg.connect(settings.database_url)
            await connection.execute("ALTER TABLE items RENAME COLUMN data TO no_data")
            try:
                Scoped.go_on.set()
                answer = await asker.finished()
            finally:
                await connection.execute("ALTER TABLE items RENAME COLUMN no_data TO data")
                await connection.close()
        assert answer.end == "failed"
        assert Scoped.heard == ["GeneratorExit", "left"]


async def test_a_stop_of_the_answer_to_a_structured_input_is_heard_too(settings: Settings) -> None:
    async with running(settings, server) as system:
        alice = await system.caller()
        answer = await alice.stream(create("input"))
        item = (await alice.items(answer.thread_id))[-1]
        params = {
            "thread_id": answer.thread_id,
            "item_id": item["id"],
            "input": {"type": "structured_input", "answers": {"q": {"values": ["this"]}}},
        }
        Scoped.heard.clear()
        request = {"type": "threads.add_structured_input", "params": params}
        async with asking(alice, request) as asker:
            await ready(asker)
            async with locked_thread(settings) as connection:
                Scoped.go_on.set()
                await a_write_waits(connection)
                await alice.cancel(asker.run_id)
            assert (await asker.finished()).end == "cancelled"
    assert Scoped.heard == ["CancelledError", "left"]


class Delegates(Scoped):
    """Answers by other generators, as a server does that has `stream_agent_response` in its `respond`."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        async for event in self.answer(thread, input_user_message, context):
            yield event

    async def answer(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        events = super().respond(thread, input_user_message, context)
        async for event in events:
            yield event


@pytest.mark.parametrize("stop", ["user", "overtaken"])
async def test_a_stop_while_the_sdk_stores_an_item_is_heard_by_the_generators_that_a_server_delegates_to(
    settings: Settings, stop: str
) -> None:
    """In the task and the context of the server too: none is left to the collector."""
    async with running(settings, lambda: Delegates(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        async with asking(alice, create("store")) as asker:
            await ready(asker)
            async with locked_thread(settings) as connection:
                Scoped.go_on.set()
                await a_write_waits(connection)
                if stop == "user":
                    await alice.cancel(asker.run_id)
                else:
                    await overtake(settings, asker.run_id)
            await wait_until("the server has left", lambda: "left" in Scoped.heard)
    assert Scoped.heard == ["CancelledError", "left"]


async def test_what_a_server_delegates_to_is_closed_where_the_store_fails_the_sdk(settings: Settings) -> None:
    async with running(settings, lambda: Delegates(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        async with asking(alice, create("store")) as asker:
            await ready(asker)
            connection = await asyncpg.connect(settings.database_url)
            await connection.execute("ALTER TABLE items RENAME COLUMN data TO no_data")
            try:
                Scoped.go_on.set()
                await asker.finished()
            finally:
                await connection.execute("ALTER TABLE items RENAME COLUMN no_data TO data")
                await connection.close()
        await wait_until("the server has left", lambda: "left" in Scoped.heard)
    assert Scoped.heard == ["GeneratorExit", "left"]


class Iterates(ChatKitServer[Any]):
    """Answers with an iterator that is no generator: it can be neither closed nor told."""

    def respond(self, thread: ThreadMetadata, input_user_message: Any, context: Any) -> Events:
        return Once()


class Once:
    def __init__(self) -> None:
        self._left = ["ready"]

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> ThreadStreamEvent:
        if not self._left:
            await asyncio.Event().wait()
        return ProgressUpdateEvent(text=self._left.pop())


async def test_an_iterator_that_is_no_generator_is_stopped_as_it_can_be(settings: Settings) -> None:
    async with running(settings, lambda: Iterates(None)) as system:  # type: ignore[arg-type]
        alice = await system.caller()
        async with asking(alice, create("hello")) as asker:
            await ready(asker)
            await alice.cancel(asker.run_id)
            assert (await asker.finished()).end == "cancelled"
