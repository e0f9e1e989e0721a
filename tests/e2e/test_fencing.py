"""A worker that has lost its lease without dying writes nothing more, whatever kept it; and clocks decide nothing.

A worker that is frozen by SIGSTOP is in test_worker_process.py, one that is cut off from Redis in test_partitions.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.client_view import shown, texts
from tests.support.clients.stream_clients import asking
from tests.support.leases import renewed
from tests.support.processes.crash_points import process
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, _working, api_answers, create, free_port, running, wait_until

LEASE_SECONDS = 6.0
HOLD = 5
HOUR = 3600.0


@pytest.fixture
def short_lease(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "lease_seconds": LEASE_SECONDS,
            "chatkit_server": "tests.support.servers.relay_servers:ScriptedAnswers",
        }
    )


@pytest_asyncio.fixture
async def system(short_lease: Settings) -> AsyncIterator[System]:
    async with running(short_lease, ScriptedAnswers, workers=0) as system:
        yield system


async def everything(settings: Settings, run_id: str) -> dict[str, object]:
    """All that a worker can write of a run: its journal, its row, its thread, its keys in the queue."""
    database = await asyncpg.connect(settings.database_url)
    try:
        rows = await database.fetch("SELECT status, attempt, error, ended_at FROM runs WHERE id = $1", run_id)
        items = await database.fetch("SELECT id, data::text FROM items ORDER BY seq")
        threads = await database.fetch("SELECT id, data::text FROM threads")
    finally:
        await database.close()
    async with Redis.from_url(settings.redis_url) as redis:
        return {
            "rows": [tuple(row) for row in rows],
            "items": [tuple(item) for item in items],
            "threads": [tuple(thread) for thread in threads],
            "journal": await redis.xrange(keys.journal(run_id)),
            "held": await redis.exists(keys.lease(run_id), keys.job(run_id)),
            "holder": await redis.get(keys.lease(run_id)),
        }


async def test_a_blocked_worker_that_was_frozen_past_its_lease_writes_nothing_more(
    short_lease: Settings, system: System, tmp_path: Path
) -> None:
    """respond() computes without a pause, which costs no lease; then the process is frozen, and another worker has the
    run. When the first comes to itself, in the middle of its answer, all that it still has to write is refused."""
    script = Script(
        deltas=12, items_before=1, gate=str(tmp_path), holds=[HOLD], hold_attempts=2, blocks_attempt=1
    )
    alice = await system.caller()
    log = tmp_path / "worker.log"
    with process("worker", short_lease, log) as blocked:
        async with asking(alice, create(str(script))) as asker:
            await asker.until("the first attempt is blocked", lambda _: (tmp_path / "blocked").exists())
            assert blocked.pid is not None
            async with _working(create_worker(short_lease, ScriptedAnswers())):
                held_until = time.monotonic() + 2 * LEASE_SECONDS
                while time.monotonic() < held_until:
                    assert (await everything(short_lease, asker.run_id))["rows"][0][1] == 1
                    await asyncio.sleep(0.05)
                os.kill(blocked.pid, signal.SIGSTOP)
                await asker.until(
                    "the next attempt is in mid-answer",
                    lambda answer: (
                        len([cursor for cursor, _ in answer.frames if cursor.startswith("2-")]) > HOLD
                    ),
                )
                before = await everything(short_lease, asker.run_id)
                open_gate(tmp_path, f"1-{HOLD}")
                os.kill(blocked.pid, signal.SIGCONT)
                await wait_until("the blocked one gives up", lambda: "attempt lost" in log.read_text())
                assert await everything(short_lease, asker.run_id) == before
                assert blocked.is_alive()
                open_gate(tmp_path, f"2-{HOLD}")
                answer = await asker.finished()
    assert answer.end == "completed"
    on_screen = list(shown(answer).values())
    assert [texts(item) for item in on_screen[1:]] == [["2 before"], script.whole(2)]
    assert [item["id"] for item in await alice.items(answer.thread_id)] == [item["id"] for item in on_screen]


@pytest.mark.parametrize("ahead_seconds", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
async def test_clocks_that_differ_between_hosts_change_nothing(
    short_lease: Settings, system: System, tmp_path: Path, ahead_seconds: float
) -> None:
    """A worker with a wrong clock keeps its lease, another takes none of its runs; killed, it is replaced in time."""
    script = Script(deltas=12, gate=str(tmp_path), holds=[HOLD], hold_attempts=1)
    alice = await system.caller()
    log = tmp_path / "worker.log"
    with process("worker", short_lease, log, clock_ahead_seconds=ahead_seconds) as wrong:
        async with asking(alice, create(str(script))) as asker:
            await asker.until("it is in mid-answer", lambda answer: len(answer.text.split()) == HOLD)
            async with _working(create_worker(short_lease, ScriptedAnswers())):
                async with Redis.from_url(short_lease.redis_url) as redis:
                    for _ in range(2):
                        await renewed(redis, asker.run_id)
                        assert (await everything(short_lease, asker.run_id))["rows"][0][1] == 1
                        assert 0 < await redis.pttl(keys.lease(asker.run_id)) <= LEASE_SECONDS * 1000
                wrong.kill()
                answer = await asker.finished()
    assert answer.end == "completed"
    assert [texts(item) for item in list(shown(answer).values())[1:]] == [script.whole(2)]


async def test_what_an_api_with_a_wrong_clock_queues_is_due_at_once(
    short_lease: Settings, tmp_path: Path
) -> None:
    """By Redis's clock. By the API's own, an hour ahead, the run would not be due before this test has given up."""
    log = tmp_path / "api.log"
    async with running(short_lease, ScriptedAnswers) as system:
        alice = await system.caller()
        given = await alice.client.post("/dev/token", json={"sub": "alice", "ttl_seconds": 3 * int(HOUR)})
        port = free_port()
        with process("api", short_lease, log, clock_ahead_seconds=HOUR, PORT=str(port)):
            await api_answers(port)
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                caller = Caller(client, given.json()["access_token"])
                assert (await caller.stream(create(str(Script())))).end == "completed"
