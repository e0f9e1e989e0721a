"""Worker processes that are killed, frozen and drained in mid-answer: the run goes on elsewhere, and is whole."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import Follower, asking, crowd
from tests.support.leases import end_lease, renewed
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    START_SECONDS,
    Answer,
    Caller,
    Process,
    Processes,
    create,
    fork_process,
    free_port,
    make_settings,
    running_processes,
    wait_until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_SECONDS = 15.0
DRAIN_SECONDS = 0.5
HOLD = 6


@dataclass
class Stage:
    system: Processes
    alice: Caller
    redis: Redis
    database: asyncpg.Connection

    async def row(self, run_id: str) -> asyncpg.Record:
        return await self.database.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)

    async def journal_ids(self, run_id: str) -> list[tuple[int, int]]:
        entries = await self.redis.xrange(keys.journal(run_id))
        return [tuple(map(int, entry_id.decode().split("-"))) for entry_id, _ in entries]

    @asynccontextmanager
    async def worker(self, **more: Any) -> AsyncIterator[Process]:
        """A worker process that is ready, killed after the block if it still lives."""
        process = self.system.start_worker(**{name: str(value) for name, value in more.items()})

        def ready() -> bool:
            assert process.popen.poll() is None, process.output
            return "worker started" in process.output

        await wait_until("the worker is ready", ready, START_SECONDS)
        try:
            yield process
        finally:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.kill()


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            lease_seconds=LEASE_SECONDS,
            drain_seconds=DRAIN_SECONDS,
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings, tmp_path_factory) -> AsyncIterator[Stage]:
    async with (
        running_processes(
            stage_settings, tmp_path_factory.mktemp("logs"), workers=0, start=fork_process
        ) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
    ):
        database = await asyncpg.connect(stage_settings.database_url)
        yield Stage(system, await crowd(system, await system.caller()), redis, database)
        await database.close()


def held(tmp_path: Path, attempts: int = 1, hold: int = HOLD) -> Script:
    """An answer whose first `attempts` attempts stop in the middle until their gate opens."""
    return Script(deltas=12, items_before=1, gate=str(tmp_path), holds=[hold], hold_attempts=attempts)


def deltas(answer: Answer, attempt: int) -> list[str]:
    given = [event["update"]["delta"] for event in answer.of_type("thread.item.updated")]
    return [delta for delta in given if delta.startswith(f"{attempt}.")]


async def in_mid_answer(asker: Follower, attempt: int = 1) -> Answer:
    await asker.until(
        f"attempt {attempt} is in mid-answer", lambda answer: len(deltas(answer, attempt)) == HOLD
    )
    return asker.answer


async def assert_whole(stage: Stage, answer: Answer, script: Script, attempt: int) -> None:
    """The client has this attempt's answer once, and so has the thread."""
    assert answer.end == "completed"
    on_screen = list(shown(answer).values())
    assert [texts(item) for item in on_screen[1:]] == [[f"{attempt} before"], script.whole(attempt)]
    stored = await stage.alice.items(answer.thread_id)
    assert [item["id"] for item in stored] == [item["id"] for item in on_screen]
    assert [texts(item) for item in stored[1:]] == [[f"{attempt} before"], script.whole(attempt)]
    run = await stage.row(answer.run_id)
    assert (run["status"], run["attempt"]) == ("completed", attempt)
    await released(stage, answer.run_id)


async def released(stage: Stage, run_id: str) -> None:
    async def nothing_left() -> bool:
        left = await stage.redis.exists(keys.lease(run_id), keys.job(run_id), keys.tries(run_id))
        return not left and await stage.redis.zscore(keys.QUEUE, run_id) is None

    await wait_until("the run's job is gone from the queue", nothing_left)


async def test_a_run_whose_worker_is_killed_is_whole_once_another_has_it(stage, tmp_path):
    """kill -9 in mid-answer. Who stayed connected is told to take back what it was shown; the next attempt is whole."""
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script))) as asker, stage.worker() as first:
        before = await in_mid_answer(asker)
        async with stage.worker():
            first.kill()
            end_lease(stage.system.settings.redis_url, asker.run_id)
            answer = await asker.finished()
            await assert_whole(stage, answer, script, attempt=2)
    removed = [event["item_id"] for event in answer.of_type("thread.item.removed")]
    assert removed == list(shown(before))[1:]


async def test_a_run_that_outlives_all_its_attempts_fails(stage, tmp_path):
    """RUN_MAX_ATTEMPTS=1, its worker killed: the next does not execute it, but ends it with an error to retry."""
    script = held(tmp_path, attempts=9)
    async with asking(stage.alice, create(str(script))) as asker, stage.worker(RUN_MAX_ATTEMPTS=1) as worker:
        await in_mid_answer(asker)
        async with stage.worker(RUN_MAX_ATTEMPTS=1):
            worker.kill()
            end_lease(stage.system.settings.redis_url, asker.run_id)
            answer = await asker.finished()
            await released(stage, answer.run_id)
    assert answer.end == "failed"
    assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
    assert deltas(answer, 2) == []
    run = await stage.row(answer.run_id)
    assert (run["status"], run["error"], run["attempt"]) == ("failed", "attempts_exhausted", 2)


async def test_a_frozen_worker_that_wakes_writes_nothing_more(stage, tmp_path):
    """SIGSTOP past the lease, another runs attempt 2, SIGCONT: journal, thread and row stay attempt 2's."""
    script = held(tmp_path, attempts=2)
    async with asking(stage.alice, create(str(script))) as asker, stage.worker() as frozen:
        await in_mid_answer(asker)
        async with stage.worker() as awake:
            frozen.popen.send_signal(signal.SIGSTOP)
            end_lease(stage.system.settings.redis_url, asker.run_id)
            await in_mid_answer(asker, 2)
            ids = await stage.journal_ids(asker.run_id)
            open_gate(tmp_path, f"1-{HOLD}")
            frozen.popen.send_signal(signal.SIGCONT)
            await wait_until("the first worker gives up", lambda: "attempt lost" in frozen.output)
            assert await stage.journal_ids(asker.run_id) == ids
            assert (await stage.row(asker.run_id))["status"] == "running"
            assert await stage.redis.exists(keys.lease(asker.run_id), keys.job(asker.run_id)) == 2
            await renewed(stage.redis, asker.run_id)
            assert (await stage.row(asker.run_id))["attempt"] == 2
            open_gate(tmp_path, f"2-{HOLD}")
            answer = await asker.finished()
            await assert_whole(stage, answer, script, attempt=2)
            assert "attempt lost" not in awake.output
    assert len(deltas(answer, 1)) == HOLD


async def test_a_worker_that_slept_through_its_lease_goes_on_with_a_run_that_nobody_took(stage, tmp_path):
    """The only worker: its attempt has the lease again, is renewed, hears the stop, and shows nothing twice."""
    script = held(tmp_path, attempts=2)
    async with asking(stage.alice, create(str(script))) as asker, stage.worker(LEASE_SECONDS=6) as worker:
        await in_mid_answer(asker)
        worker.popen.send_signal(signal.SIGSTOP)

        async def lease_is_over() -> bool:
            return not await stage.redis.exists(keys.lease(asker.run_id))

        await wait_until("the lease is over", lease_is_over)
        worker.popen.send_signal(signal.SIGCONT)
        await wait_until("it has a lease again", lambda: stage.redis.exists(keys.lease(asker.run_id)))
        await renewed(stage.redis, asker.run_id, times=2)
        assert await stage.redis.exists(keys.lease(asker.run_id), keys.job(asker.run_id)) == 2
        assert (await stage.row(asker.run_id))["attempt"] == 1
        assert (await stage.alice.cancel(asker.run_id)).status_code == 202
        answer = await asker.finished()
        await released(stage, asker.run_id)
    assert answer.end == "cancelled"
    assert len(deltas(answer, 1)) == HOLD
    assert deltas(answer, 2) == []


async def test_a_drained_worker_hands_its_run_back_at_no_cost(stage, tmp_path):
    """SIGTERM in mid-answer: another worker runs it anew at once, the client has a whole answer."""
    script = held(tmp_path)
    async with asking(stage.alice, create(str(script))) as asker, stage.worker() as first:
        before = await in_mid_answer(asker)
        async with stage.worker():
            assert await asyncio.to_thread(first.terminate) == 0
            answer = await asker.finished()
            await assert_whole(stage, answer, script, attempt=2)
    assert [event["item_id"] for event in answer.of_type("thread.item.removed")] == list(shown(before))[1:]
    assert (await stage.row(answer.run_id))["handed_back"] == 1
    assert await hidden_notes(stage, answer.thread_id) == []


async def test_a_drained_worker_ends_a_run_that_may_not_be_executed_again(stage, tmp_path):
    """SIGTERM in mid-answer, RUN_MAX_ATTEMPTS=1: the run fails, with its partial text kept and an error to retry."""
    async with asking(stage.alice, create(str(held(tmp_path)))) as asker:
        async with stage.worker(RUN_MAX_ATTEMPTS=1) as worker:
            await in_mid_answer(asker)
            assert await asyncio.to_thread(worker.terminate) == 0
        answer = await asker.finished()
    assert answer.end == "failed"
    assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
    row = await stage.row(answer.run_id)
    assert (row["status"], row["error"], row["attempt"]) == ("failed", "interrupted", 1)
    kept = [item for item in await stage.alice.items(answer.thread_id) if item["type"] == "assistant_message"]
    assert texts(kept[-1]) == ["".join(deltas(answer, 1)[part::2]) for part in range(2)]
    assert await hidden_notes(stage, answer.thread_id) == []


async def test_a_drained_worker_lets_a_run_finish_that_can(stage, tmp_path):
    """SIGTERM, then the answer goes on within DRAIN_SECONDS: it completes in its first attempt."""
    script = held(tmp_path)
    async with (
        asking(stage.alice, create(str(script))) as asker,
        stage.worker(DRAIN_SECONDS=START_SECONDS) as worker,
    ):
        await in_mid_answer(asker)
        exit_code = asyncio.create_task(asyncio.to_thread(worker.terminate))
        await wait_until("the worker drains", lambda: "draining" in worker.output)
        async with asking(stage.alice, create(str(Script()))) as later:
            await later.until("its run is queued", lambda answer: answer.of_type("stream_options"))
            open_gate(tmp_path, HOLD)
            answer = await asker.finished()
            assert await exit_code == 0
            assert later.answer.of_type("thread.item.added") == []
            assert (await stage.alice.cancel(later.run_id)).json()["status"] == "cancelled"
    await assert_whole(stage, answer, script, attempt=1)


async def hidden_notes(stage: Stage, thread_id: str) -> list[str]:
    rows = await stage.database.fetch(
        "SELECT data ->> 'content' AS content FROM items"
        " WHERE thread_id = $1 AND data ->> 'type' = 'sdk_hidden_context'",
        thread_id,
    )
    return [row["content"] for row in rows]
