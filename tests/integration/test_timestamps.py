"""Each `created_at` on the wire has an offset, whoever made it and in whatever zone the processes are.

A server meets times as ChatKit makes them, without one: Python compares no time that has a zone with one that has none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest
from chatkit.types import ClientToolCallItem, ThreadItemDoneEvent, ThreadMetadata, UserMessageItem
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.shared.threads.timestamps import with_offsets
from relaykit.worker.main import create_worker
from tests.integration.persistence import thread
from tests.support.servers.protocol_servers import Events, ProtocolServer
from tests.support.system import Caller, System, _working, create, message, running, wait_until

ZONES = ["UTC", "Asia/Tokyo", "America/Los_Angeles"]
AWARE = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
ARGUMENTS = {"created_at": "2026-01-02T03:04:05", "type": "thread.item.done"}


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of this process, which is API and worker."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


class ComparingServer(ProtocolServer):
    """Orders what is stored by its time and asks how old it is, as ChatKit's own workflows do."""

    def __init__(self) -> None:
        super().__init__(store=None)  # type: ignore[arg-type]

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        page = await self.store.load_thread_items(thread.id, None, 100, "asc", context)
        items = sorted(page.data, key=lambda item: item.created_at)
        ages = [(datetime.now() - each.created_at).total_seconds() for each in (*items, thread)]
        assert items == page.data
        assert min(ages) >= 0, ages
        if input_user_message is not None and input_user_message.content[0].text == "aware":
            common = {**self._common(thread, "tool_call", context), "created_at": AWARE}
            yield ThreadItemDoneEvent(
                item=ClientToolCallItem(call_id="call_1", name="get_page", arguments=ARGUMENTS, **common)
            )
            return
        async for event in super().respond(thread, input_user_message, context):
            yield event


def times(value: Any) -> list[datetime]:
    """All that are called created_at, of threads and items, but not in what belongs to the user."""
    if isinstance(value, list):
        return [each for part in value for each in times(part)]
    if not isinstance(value, dict):
        return []
    inner = [part for name, part in value.items() if name != "arguments"]
    own = [datetime.fromisoformat(value["created_at"])] if "created_at" in value else []
    return own + times(inner)


async def test_what_is_sent_has_an_offset(settings: Settings, zone: str) -> None:
    """In events of admission and of a run, in threads, items and their pages: the moment at which it was made."""
    started = datetime.now(UTC)
    async with running(settings, ComparingServer) as system:
        alice = await system.caller()
        first = await alice.stream(create("widget"))
        thread_id = first.thread_id
        second = await alice.stream(message(thread_id, "hello"))
        answers: list[Any] = [first.events, second.events]
        for kind, params in (
            ("threads.get_by_id", {"thread_id": thread_id}),
            ("threads.list", {"limit": 10}),
            ("items.list", {"thread_id": thread_id}),
            ("threads.update", {"thread_id": thread_id, "title": "Mine"}),
            ("threads.sync_custom_action", await _action(alice, thread_id)),
        ):
            answers.append(await alice.ask({"type": kind, "params": params}))
        replaced = await alice.stream(
            {"type": "threads.custom_action", "params": await _action(alice, thread_id)}
        )
        assert replaced.of_type("thread.item.replaced")
        answers.append(replaced.events)
    ended = datetime.now(UTC)
    for found in map(times, answers):
        assert found
        assert [each for each in found if not started <= each <= ended] == []


async def _action(alice: Caller, thread_id: str) -> dict[str, Any]:
    items = await alice.items(thread_id)
    widget = next(item["id"] for item in items if item["type"] == "widget")
    return {"thread_id": thread_id, "item_id": widget, "action": {"type": "count", "payload": {"by": 1}}}


async def test_what_a_server_made_with_a_zone_is_sent_as_it_is(settings: Settings, zone: str) -> None:
    """And so is what only has the name: a tool's arguments are the tool's."""
    async with running(settings, ComparingServer) as system:
        alice = await system.caller()
        answer = await alice.stream(create("aware"))
        [done] = [
            event["item"]
            for event in answer.of_type("thread.item.done")
            if event["item"]["type"] == "client_tool_call"
        ]
        for item in (done, (await alice.items(answer.thread_id))[-1]):
            assert item["created_at"] == "2026-01-02T03:04:00+02:00"
            assert item["arguments"] == ARGUMENTS


async def test_what_is_stored_is_as_the_server_made_it(settings: Settings, zone: str) -> None:
    async with running(settings, ComparingServer) as system:
        alice = await system.caller()
        await alice.stream(create("hello"))
    database = await asyncpg.connect(settings.database_url)
    try:
        rows = await database.fetch("SELECT data FROM items UNION ALL SELECT data FROM threads")
    finally:
        await database.close()
    found = [datetime.fromisoformat(json.loads(row["data"])["created_at"]) for row in rows]
    assert [each.tzinfo for each in found] == [None] * 3


async def test_admission_s_events_are_the_same_when_a_worker_writes_them_again(
    settings: Settings, zone: str
) -> None:
    """After Redis was emptied: a client that comes before and one that comes later get the same bytes."""
    async with running(settings, ComparingServer, workers=0) as system, _redis(settings) as redis:
        alice = await system.caller()
        async with alice.open_stream(create("hello")) as response:
            run_id = response.headers["x-run-id"]
            await wait_until("admission has written", lambda: redis.exists(keys.journal(run_id)))
            before = await redis.xrange(keys.journal(run_id), "0-1", "0-9")
        await redis.flushdb()
        async with _working(create_worker(settings, ComparingServer())):
            await wait_until("it has ended", lambda: _has_ended(system, alice, run_id))
            assert await redis.xrange(keys.journal(run_id), "0-1", "0-9") == before


def _redis(settings: Settings) -> Redis:
    return Redis.from_url(settings.redis_url)


async def _has_ended(system: System, alice: Caller, run_id: str) -> bool:
    return (await alice.get(f"/runs/{run_id}")).json()["status"] == "completed"


@pytest.mark.parametrize("moment", [datetime.min, datetime.max])
def test_the_ends_of_the_calendar_are_sent(zone: str, moment: datetime) -> None:
    sent = with_offsets(thread().model_copy(update={"created_at": moment}))
    assert sent.created_at.tzinfo is not None
    assert json.loads(sent.model_dump_json())["created_at"]


def test_what_a_server_holds_is_not_changed(zone: str) -> None:
    held = thread()
    before = held.model_copy(deep=True)
    with_offsets(held)
    assert held == before
