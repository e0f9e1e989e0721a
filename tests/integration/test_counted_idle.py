"""What the product asks for while nothing happens, and holds: connections, and memory for a client that waits.

As in test_counted_work.py each bound is what was counted, and where timing plays a part a little more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from bench.redis.commands import counted
from bench.systems.server import BenchServer, Script
from bench.systems.usage import resident_bytes
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd
from tests.support.services.redis_clients import connections
from tests.support.system import Caller, create, keyed, running, running_processes, wait_until
from tests.support.work_counters import counted_statements

# Of a process, whatever it is doing.
API_CONNECTIONS, WORKER_CONNECTIONS = 2, 7
# A worker waits for the bell and looks for jobs; an API asks nothing.
WORKER_COMMANDS_A_SECOND = 2
# One round of the reaper that finds nothing.
COMMANDS_OF_REAPER = 2
STATEMENTS_OF_REAPER = 7
# For any number of runs: a heartbeat of their worker, a tick of the watch at the API that follows them.
COMMANDS_OF_HEARTBEAT, COMMANDS_OF_TICK = 1, 1
# Resident memory of an API process for a client that waits, each with a run of its own.
BYTES_OF_CLIENT = 12 * 1024

HELD = 20
CLIENTS = 300


async def has_told(settings: Settings) -> bool:
    """Whether an API has written that it reaches Redis, with which a look ends; the next one begins seconds later."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM redis_reached)"))
    finally:
        await connection.close()


async def test_an_idle_api_asks_nothing(settings: Settings) -> None:
    changed = settings.model_copy(update={"lease_seconds": 0.5})  # many ticks of the watch
    with counted_statements() as statements:
        async with running(changed, lambda: BenchServer(None), workers=0):
            await wait_until("the first look at the queue is over", lambda: has_told(settings))
            async with counted(settings.redis_url) as commands:
                statements.clear()
                await asyncio.sleep(1.5)
                assert (commands.total, statements.total()) == (0, 0), (commands, statements)


async def test_an_idle_worker_asks_little(settings: Settings, monkeypatch) -> None:
    """Its commands in a second, and its statements in a round of the reaper."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 1.0)
    whole = settings.model_copy(update={"database_pool_min": 4})
    with counted_statements() as statements:
        async with running(whole, lambda: BenchServer(None), apis=0):
            async with counted(settings.redis_url) as first:
                await wait_until("it waits for the bell again", lambda: first.asked["BLPOP"] >= 2)
            await wait_until("the reaper has had a round", statements.total)
            started_at = time.monotonic()
            statements.clear()
            async with counted(settings.redis_url) as commands:
                await asyncio.sleep(3)
                seconds = time.monotonic() - started_at
            bound = (WORKER_COMMANDS_A_SECOND + COMMANDS_OF_REAPER) * (seconds + 1)
            assert commands.asked.total() <= bound, (bound, commands.asked)
            bound = STATEMENTS_OF_REAPER * (seconds + 1)
            assert statements.total() <= bound, (bound, statements)


async def test_runs_that_are_held_and_followed_share_each_heartbeat_and_each_tick(settings: Settings) -> None:
    """And the connections: each process has as many with them as without."""
    changed = settings.model_copy(update={"lease_seconds": 1.5, "drain_seconds": 0})
    beat_seconds, tick_seconds = 0.5, 0.75
    async with (
        Redis.from_url(settings.redis_url, single_connection_client=True) as redis,
        running(changed, lambda: BenchServer(None), apis=0),
    ):
        async with (
            running(changed, lambda: BenchServer(None), workers=0) as system,
            AsyncExitStack() as askers,
        ):
            alice = await crowd(system, await system.caller())
            for number in range(HELD):
                request = create(str(Script(hold_seconds=60)))
                asker = await askers.enter_async_context(asking(alice, request, keyed(number)))
                await asker.until("it runs", lambda answer: answer.of_type("thread.item.added"))
            started_at = time.monotonic()
            async with counted(settings.redis_url) as commands:
                await asyncio.sleep(2.5)
                seconds = time.monotonic() - started_at
            of_both = len(await connections(redis))
        of_worker = len(await connections(redis))
    beats, ticks = commands.asked["renew"], commands.asked["run_liveness"]
    assert 0 < beats <= COMMANDS_OF_HEARTBEAT * (seconds / beat_seconds + 1), commands.asked
    assert 0 < ticks <= COMMANDS_OF_TICK * (seconds / tick_seconds + 1), commands.asked
    assert (of_worker <= WORKER_CONNECTIONS, of_both - of_worker <= API_CONNECTIONS) == (True, True), (
        of_worker,
        of_both - of_worker,
    )


async def test_a_client_that_waits_costs_an_api_little_memory(settings: Settings, tmp_path: Path) -> None:
    """Each follows a run of its own, in which nothing happens."""
    changed = settings.model_copy(update={"lease_seconds": 120})
    async with running_processes(changed, tmp_path, workers=0) as system:
        alice = await system.caller()
        run_ids = await _running_runs(changed, 2 * CLIENTS)
        pid = system.api_processes[0].popen.pid
        async with _followed(alice, system.urls[0], run_ids[:CLIENTS]):
            before = resident_bytes(
                pid
            )  # what the first clients leave behind for the next is not the next ones'
            async with _followed(alice, system.urls[0], run_ids[CLIENTS:]):
                each = (resident_bytes(pid) - before) / CLIENTS
    assert each <= BYTES_OF_CLIENT, f"{each:.0f} bytes a client"


async def _running_runs(settings: Settings, count: int) -> list[str]:
    """Runs of alice's that are running, with the first entry of their journals."""
    run_ids = [f"run_{number}" for number in range(count)]
    connection = await asyncpg.connect(settings.database_url)
    try:
        await connection.execute(
            """INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt)
               SELECT id, '', 'alice', 'thr_' || id, 'threads.create', '{}', '{}', 'running', 1
               FROM unnest($1::text[]) AS id""",
            run_ids,
        )
    finally:
        await connection.close()
    async with open_redis(settings.redis_url, connections=1) as redis:
        for run_id in run_ids:
            await Journals(redis, JournalTtl.of(settings)).write_first_entries(
                run_id, [b'{"type":"stream_options"}']
            )
    return run_ids


@asynccontextmanager
async def _followed(caller: Caller, url: str, run_ids: list[str]) -> AsyncIterator[None]:
    """A client of each run, which has its first entry."""
    address = urlsplit(url)
    streams = []
    try:
        for run_id in run_ids:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            streams.append(writer)
            writer.write(
                f"GET /runs/{run_id}/events HTTP/1.1\r\nHost: api\r\n"
                f"Authorization: Bearer {caller.token}\r\nRelaykit-Resume: 1\r\n\r\n".encode()
            )
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"stream_options")
        yield
    finally:
        for writer in streams:
            writer.close()
