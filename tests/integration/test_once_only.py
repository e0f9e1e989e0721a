"""Runs that must not be executed twice: by the request's header, by the server's word, and by a run nobody follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem
from redis.asyncio import Redis

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import Follower, asking
from tests.support.leases import end_lease
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.system import create, running, wait_until

HOLD = 3


class Careful(ScriptedAnswers):
    """Forbids another attempt before its answer."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        await context.forbid_next_attempt()
        async for event in super().respond(thread, input_user_message, context):
            yield event


@pytest.fixture
def short_lease(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 6, "drain_seconds": 0})


def held(tmp_path: Path) -> str:
    return str(Script(gate=str(tmp_path), holds=[HOLD], hold_attempts=1))


async def in_mid_answer(asker: Follower) -> None:
    await asker.until("in mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) == HOLD)


async def lose_the_lease(settings: Settings, run_id: str) -> None:
    """Somebody else has taken it, and is lost in turn: its worker hears of it, and the run is anybody's to take."""
    async with Redis.from_url(settings.redis_url) as redis:
        await redis.set(keys.lease(run_id), "somebody", ex=600)
        await wait_until("its worker has heard of it", lambda: not is_produced(run_id))
        end_lease(settings.redis_url, run_id)


def is_produced(run_id: str) -> bool:
    return any(task.get_name() == f"produce {run_id}" for task in asyncio.all_tasks())


async def row(settings: Settings, run_id: str) -> Any:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return await connection.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)
    finally:
        await connection.close()


async def assert_failed_once(settings: Settings, asker: Follower) -> None:
    answer = await asker.finished()
    assert (answer.end, answer.events[-1]["type"], answer.events[-1]["allow_retry"]) == (
        "failed",
        "error",
        True,
    )
    assert {event["update"]["delta"][:2] for event in answer.of_type("thread.item.updated")} == {"1."}
    found = await row(settings, answer.run_id)
    assert (found["status"], found["error"]) == ("failed", "attempts_exhausted")


@pytest.mark.parametrize("how", ["header", "server"])
async def test_a_run_that_forbids_it_is_not_executed_again(
    short_lease: Settings, tmp_path: Path, how: str
) -> None:
    """Its worker is lost: the next one fails the run, with an error to retry."""
    server = Careful if how == "server" else ScriptedAnswers
    headers = {"Relaykit-Max-Attempts": "1"} if how == "header" else {}
    async with running(short_lease, server, workers=2) as system:
        alice = await system.caller()
        async with asking(alice, create(held(tmp_path)), headers) as asker:
            await in_mid_answer(asker)
            await lose_the_lease(short_lease, asker.run_id)
            await assert_failed_once(short_lease, asker)


async def test_a_header_above_the_setting_does_nothing(short_lease: Settings, tmp_path: Path) -> None:
    once = short_lease.model_copy(update={"run_max_attempts": 1})
    async with running(once, ScriptedAnswers, workers=2) as system:
        alice = await system.caller()
        async with asking(alice, create(held(tmp_path)), {"Relaykit-Max-Attempts": "9"}) as asker:
            await in_mid_answer(asker)
            await lose_the_lease(once, asker.run_id)
            await assert_failed_once(once, asker)


async def test_a_drain_ends_a_run_that_forbids_another_attempt(short_lease: Settings, tmp_path: Path) -> None:
    """Its partial text is kept, and the error says that it can be retried."""
    async with running(short_lease, Careful, workers=0) as system:
        alice = await system.caller()
        async with asking(alice, create(held(tmp_path))) as asker:
            async with worker_of(short_lease):
                await in_mid_answer(asker)
            answer = await asker.finished()
        assert (answer.end, (await row(short_lease, answer.run_id))["error"]) == ("failed", "interrupted")
        (kept,) = [
            item for item in await alice.items(answer.thread_id) if item["type"] == "assistant_message"
        ]
        assert "".join(part["text"] for part in kept["content"]) == "1.0 1.2 1.1 "


@asynccontextmanager
async def worker_of(settings: Settings) -> AsyncIterator[None]:
    """A worker, drained after the block."""
    worker = create_worker(settings, Careful())
    working = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.drain()
        await working


async def test_who_forbids_too_late_is_told(short_lease: Settings) -> None:
    """A newer attempt has begun: the side effect is not this attempt's to make."""
    async with running(short_lease, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        async with alice.open_stream(create("hello")) as response:
            run_id = response.headers["x-run-id"]
        connection = await asyncpg.connect(short_lease.database_url)
        await connection.execute("UPDATE runs SET attempt = 2, status = 'running' WHERE id = $1", run_id)
        await connection.close()
        async with Database(short_lease) as database:
            assert await AttemptRuns(database).forbid_next_attempt(run_id, 1) is False
            assert await AttemptRuns(database).forbid_next_attempt(run_id, 2) is True


async def test_the_call_key_is_the_same_in_each_attempt(short_lease: Settings, tmp_path: Path) -> None:
    servers: list[Keyed] = []

    def make() -> Keyed:
        servers.append(Keyed())
        return servers[-1]

    async with running(short_lease, make, workers=2) as system:
        alice = await system.caller()
        async with asking(alice, create(held(tmp_path))) as asker:
            await in_mid_answer(asker)
            await lose_the_lease(short_lease, asker.run_id)
            answer = await asker.finished()
    assert answer.end == "completed"
    called = [key for server in servers for key in server.called]
    assert sorted(attempt for _, attempt in called) == [1, 2]
    assert {key for key, _ in called} == {f"{answer.run_id}:charge"}


class Keyed(ScriptedAnswers):
    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[str, int | None]] = []

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        self.called.append((context.call_key("charge"), context.attempt))
        async for event in super().respond(thread, input_user_message, context):
            yield event
