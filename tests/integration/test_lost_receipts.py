"""Redis forgets what a client has received, and the row does not: the same words without a key, after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.redis import keys
from relaykit.shared.redis.scripts import call
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, _working, create, message, running, wait_until

HOLD = 3


@dataclass
class Stage:
    system: System
    alice: Caller
    redis: Redis
    database: asyncpg.Connection[Any]
    gate: Path
    thread_id: str
    yes: dict[str, Any]
    """What is said again; its answer holds until the gate is opened."""

    async def said(self) -> int:
        """How often the thread has it."""
        items = await self.alice.items(self.thread_id)
        return len([item for item in items if item["type"] == "user_message"]) - 1

    async def status(self, run_id: str) -> str:
        return await self.database.fetchval("SELECT status FROM runs WHERE id = $1", run_id)

    async def is_in_the_row(self, run_id: str) -> bool:
        return await self.database.fetchval("SELECT received_at IS NOT NULL FROM runs WHERE id = $1", run_id)

    async def runs(self) -> list[str]:
        """Those of what is said again."""
        rows = await self.database.fetch(
            "SELECT id FROM runs WHERE kind = 'threads.add_user_message' ORDER BY seq"
        )
        return [row["id"] for row in rows]

    async def begun(self) -> str:
        """Says it, and leaves in the middle of the answer: the run, which goes on."""
        async with self.alice.open_stream(self.yes) as response:
            async for part in response.aiter_raw():
                if b"thread.item.updated" in part:
                    break
        run_id = response.headers["x-run-id"]
        await wait_until("the row says that it was received", lambda: self.is_in_the_row(run_id))
        return run_id


@asynccontextmanager
async def stage_of(settings: Settings, folder: Path, workers: int = 1) -> AsyncIterator[Stage]:
    gate = folder / "gate"
    open_gate(gate)
    async with running(settings, ScriptedAnswers, workers=0) as system:
        database = await asyncpg.connect(settings.database_url)
        try:
            async with Redis.from_url(settings.redis_url) as redis:
                alice = await system.caller()
                async with AsyncExitStack() as stack:
                    async with _working(create_worker(settings, ScriptedAnswers())):
                        thread_id = (await alice.stream(create(str(Script(deltas=1))))).thread_id
                    for _ in range(workers):
                        await stack.enter_async_context(_working(create_worker(settings, ScriptedAnswers())))
                    yes = message(thread_id, str(Script(deltas=6, gate=str(gate), holds=[HOLD])))
                    yield Stage(system, alice, redis, database, gate, thread_id, yes)
                    open_gate(gate, HOLD)
        finally:
            await database.close()


@pytest.fixture
async def stage(settings: Settings, tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage_of(settings.model_copy(update={"lease_seconds": 6}), tmp_path) as stage:
        yield stage


async def flushed(stage: Stage, run_id: str) -> None:
    """Emptied, with the worker's next heartbeat after it."""
    await stage.redis.flushdb()
    await wait_until("the worker has its lease again", lambda: stage.redis.exists(keys.lease(run_id)))


async def forgot_that_it_was_received(stage: Stage, run_id: str) -> None:
    """A replica took over that lacked the newest writes, or a key had to make room."""
    assert await stage.redis.delete(keys.received(run_id)) == 1


LOSSES: dict[str, Callable[[Stage, str], Awaitable[None]]] = {
    "emptied": flushed,
    "note lost": forgot_that_it_was_received,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("then", ["running", "ended", "ended before"])
async def test_the_same_words_after_a_loss_are_another_message(
    stage: Stage, loss: Callable[[Stage, str], Awaitable[None]], then: str
) -> None:
    """While their run goes on, after it has ended, and where it had ended before the loss."""
    first = await stage.begun()

    async def ended() -> None:
        open_gate(stage.gate, HOLD)
        await wait_until("it has ended", lambda: _is(stage, first, "completed"))

    if then == "ended before":
        await ended()
        await (stage.redis.flushdb() if loss is flushed else loss(stage, first))
    else:
        await loss(stage, first)
        if then == "ended":
            await ended()
    async with stage.alice.open_stream(stage.yes) as response:
        assert response.status_code == 200
        assert response.headers["x-run-id"] != first
        open_gate(stage.gate, HOLD)
        raw = b"".join([part async for part in response.aiter_raw()])
    assert b": end completed" in raw
    assert await stage.said() == 2


async def test_the_same_words_after_a_loss_that_cost_an_attempt_are_another_message(
    settings: Settings, tmp_path: Path
) -> None:
    """The next attempt writes admission's entries again: a whole journal, of which Redis knows no reader."""
    async with stage_of(settings.model_copy(update={"lease_seconds": 1.0}), tmp_path, workers=0) as stage:
        async with _working(lost := create_worker(settings, ScriptedAnswers())):
            first = await stage.begun()
            lost.drain()
        await stage.redis.flushdb()
        open_gate(stage.gate, HOLD)
        async with _working(create_worker(settings, ScriptedAnswers())):
            await wait_until("the next attempt has ended", lambda: _is(stage, first, "completed"))
            assert await stage.redis.xrange(keys.journal(first), "0-1", "0-1")
            answer = await stage.alice.stream(stage.yes)
            assert (answer.run_id != first, answer.end) == (True, "completed")
            assert await stage.said() == 2


async def test_what_no_client_has_had_attaches_after_a_loss(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widget's POST met a 5xx, Redis was emptied, and the widget posts again: the message is there once."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr("relaykit.worker.reaper.reaper.QUEUED_SECONDS", 0.2)
    admit, failed = AdmissionQueue.publish_admitted, []

    async def fails_once(queue: AdmissionQueue, first_entries: Any, run_id: str, *more: Any) -> None:
        if not failed:
            failed.append(run_id)
            raise RuntimeError("the process is going down")
        await admit(queue, first_entries, run_id, *more)

    async with stage_of(settings, tmp_path, workers=0) as stage:
        with monkeypatch.context() as patched:
            patched.setattr(AdmissionQueue, "publish_admitted", fails_once)
            assert (await stage.alice.post(stage.yes)).status_code == 500
        await stage.redis.flushdb()
        open_gate(stage.gate, HOLD)
        again = asyncio.create_task(stage.alice.stream(stage.yes))
        async with _working(create_worker(settings, ScriptedAnswers())):
            answer = await again
        assert (answer.run_id, answer.end) == (failed[0], "completed")
        assert await stage.said() == 1


async def test_what_no_client_can_have_any_more_is_another_message(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run was answered, and of its journal only an end is left: there is nothing to attach to."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(AdmissionQueue, "publish_admitted", _enqueues_and_fails)
        assert (await stage.alice.post(stage.yes)).status_code == 500
    [first] = await stage.runs()
    await wait_until("its answer has begun", lambda: stage.redis.xrange(keys.journal(first), "1-2", "1-2"))
    await flushed(stage, first)
    open_gate(stage.gate, HOLD)
    await wait_until("it has ended", lambda: _is(stage, first, "completed"))
    answer = await stage.alice.stream(stage.yes)
    assert (answer.run_id != first, answer.end) == (True, "completed")


async def _enqueues_and_fails(queue: AdmissionQueue, first_entries: Any, run_id: str, *more: Any) -> None:
    await call(queue._redis, first_entries, queue.enqueue_call(run_id, *more))
    raise RuntimeError("the process is going down")


async def test_a_receipt_is_written_after_an_outage_of_the_database(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits in the API's memory: a stream goes on without PostgreSQL, and Redis may be emptied later."""
    monkeypatch.setattr("relaykit.api.receipts.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("relaykit.api.receipts.WRITE_SECONDS", 0.5)
    async with Link(settings.database_url) as link:
        apis = settings.model_copy(update={"database_url": link.url})
        async with stage_of(apis, tmp_path, workers=0) as stage, _direct(settings) as direct:
            received = "SELECT received_at IS NOT NULL FROM runs WHERE id = $1"
            async with stage.alice.open_stream(stage.yes) as response:
                await anext(response.aiter_raw())
                run_id = response.headers["x-run-id"]
                async with link.refusing():
                    await asyncio.sleep(1)  # for a try or two
                    assert not await direct.fetchval(received, run_id)
            await wait_until("the row says that it was received", lambda: direct.fetchval(received, run_id))


async def test_a_receipt_waits_for_no_row_that_is_locked(settings: Settings, tmp_path: Path) -> None:
    """Those of other runs are written meanwhile, and its own once the row is free."""
    async with stage_of(settings, tmp_path, workers=0) as stage, _direct(settings) as direct:
        async with stage.alice.open_stream(create("first")) as response:
            locked = response.headers["x-run-id"]
            async with direct.transaction():
                await direct.execute("SELECT FROM runs WHERE id = $1 FOR UPDATE", locked)
                await anext(response.aiter_raw())
                async with stage.alice.open_stream(create("second")) as other:
                    await anext(other.aiter_raw())
                free = other.headers["x-run-id"]
                await wait_until("the other's is written", lambda: stage.is_in_the_row(free))
                assert not await stage.is_in_the_row(locked)
        await wait_until("its own is written", lambda: stage.is_in_the_row(locked))


async def test_an_api_that_stops_writes_its_receipts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relaykit.api.receipts.WRITE_SECONDS", 3600)
    async with _direct(settings) as direct:
        async with stage_of(settings, tmp_path, workers=0) as stage:
            async with stage.alice.open_stream(stage.yes) as response:
                await anext(response.aiter_raw())
            run_id = response.headers["x-run-id"]
            await wait_until("it is noted", lambda: stage.redis.exists(keys.received(run_id)))
            assert not await stage.is_in_the_row(run_id)
        assert await direct.fetchval("SELECT received_at IS NOT NULL FROM runs WHERE id = $1", run_id)


@asynccontextmanager
async def _direct(settings: Settings) -> AsyncIterator[asyncpg.Connection[Any]]:
    database = await asyncpg.connect(settings.database_url)
    try:
        yield database
    finally:
        await database.close()


async def _is(stage: Stage, run_id: str, status: str) -> bool:
    return await stage.status(run_id) == status
