"""Each incident of docs/operations.md, injected into real processes: its row of the table shows it, and no other alert.

Each test says how the incident comes about, and what the commands of the row have to print.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.incidents.stage import SHORT_LEASE_SECONDS, WORKERS, Stage, freeze, staged
from tests.incidents.table import table
from tests.support.clients.stream_clients import asking
from tests.support.network.links import Link
from tests.support.processes.faketime import shifted_clock
from tests.support.servers.observed_servers import RAISE
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.postgres_standby import PostgresPair, postgres_pair
from tests.support.services.redis_nodes import Node, failed_over, redis_node, replicated
from tests.support.system import START_SECONDS, create, free_port, keyed, wait_until

pytestmark = pytest.mark.long

ROWS = table()
LIST_THREADS = {"type": "threads.list", "params": {"limit": 20, "order": "desc"}}
LOCK_SECONDS = 2.0


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Node]:
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        yield node


@pytest.fixture
def databases_pair() -> Iterator[PostgresPair]:
    with postgres_pair() as pair:
        yield pair


@pytest.fixture
async def stage(
    redis: Node, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with staged(tmp_path, redis.url, database_url, issuer_key_file) as made:
        yield made


async def test_all_workers_are_dead(
    redis: Node, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    row, more = ROWS["All workers are dead"], {"lease_seconds": SHORT_LEASE_SECONDS}
    async with staged(tmp_path, redis.url, database_url, issuer_key_file, **more) as stage, stage.users():
        await stage.is_well(row)
        for process in stage.system.worker_processes:
            await asyncio.to_thread(process.kill)
        await stage.shows(
            row,
            {
                "relaykit status": r"workers: +0 that take runs",
                "relaykit workers list": r"silent for .+\n.*silent for ",
            },
        )


async def test_one_worker_is_frozen(stage: Stage, tmp_path: Path) -> None:
    """With a run, which the other worker begins anew."""
    row, gate = ROWS["One worker is frozen"], tmp_path / "gate"
    gate.mkdir()
    await stage.is_well(row)
    script = Script(gate=str(gate), holds=[1], hold_attempts=1)
    async with asking(stage.alice, create(str(script)), keyed(uuid4())) as asker:
        await asker.until("it runs", lambda answer: answer.of_type("thread.item.updated"))
        [begun] = stage.logged({"action": "attempt_start", "run_id": asker.run_id})
        [frozen] = [
            process
            for process in stage.system.worker_processes
            if f'"worker": "{begun["worker"]}"' in process.output
        ]
        freeze(frozen)
        assert (await asker.finished()).end == "completed"
        await stage.shows(row, {"relaykit workers list": rf"{begun['worker']} +silent for "})
        [taken] = stage.logged({"action": "run_taken_over", "run_id": asker.run_id})
        assert taken["from_worker"] == begun["worker"]


async def test_a_call_blocks_a_worker_s_loop(stage: Stage, tmp_path: Path) -> None:
    row, gate = ROWS["A call blocks a worker's loop"], tmp_path / "gate"
    gate.mkdir()
    await stage.is_well(row)
    script = Script(gate=str(gate), holds=[1], blocks_attempt=1)
    async with stage.alice.open_stream(create(str(script)), keyed(uuid4())) as response:
        run_id = response.headers["x-run-id"]
        await wait_until("the call blocks", (gate / "blocked").exists)
        await stage.shows(row, {"relaykit workers list": r"blocked for "})
        [line] = stage.logged({"action": "loop_blocked"})
        assert (line["run_id"], "relay_servers.py" in line["place"]) == (run_id, True)
        open_gate(gate, 1)


async def test_redis_is_away(stage: Stage, redis: Node) -> None:
    row = ROWS["Redis is away"]
    async with stage.users():
        await stage.is_well(row)
        redis.process.kill()
        redis.process.wait()
        await stage.shows(row, {"relaykit status": r"redis: +queue_unavailable: "})


async def test_redis_is_full(stage: Stage, redis: Node) -> None:
    row = ROWS["Redis is full"]
    async with stage.users():
        await stage.is_well(row)
        async with redis.client() as client:
            await client.config_set("maxmemory", "1")
        await stage.shows(row, {"relaykit status": r"redis: .*full \(OOM\)"})


async def test_redis_has_failed_over_and_the_address_leads_to_the_replica(
    redis: Node, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Once the address follows, a chat completes."""
    row = ROWS["Redis has failed over, and `REDIS_URL` leads to the replica"]
    with redis_node(tmp_path) as replica:
        await wait_until("the replica answers", replica.answers)
        await replicated(redis, replica)
        async with (
            Link(redis.url) as link,
            staged(tmp_path, link.url, database_url, issuer_key_file) as stage,
            stage.users(),
        ):
            await stage.is_well(row)
            await failed_over(redis, replica)
            await stage.shows(row, {"relaykit status": r"redis: .*replica \(READONLY\)"})
            link.serve(replica.url)

            async def completes() -> bool:
                return (await stage.alice.post(create(str(Script())), keyed(uuid4()))).status_code == 200

            await wait_until("a message is taken", completes)


async def test_postgresql_is_away(
    redis: Node, databases_pair: PostgresPair, issuer_key_file: Path, tmp_path: Path
) -> None:
    row = ROWS["PostgreSQL is away"]
    async with staged(tmp_path, redis.url, databases_pair.url, issuer_key_file) as stage, stage.users():
        await stage.is_well(row)
        await asyncio.to_thread(databases_pair.kill_primary)
        await stage.shows(row, {"relaykit status": r"postgresql: +database_unavailable: "})


async def test_postgresql_is_read_only(
    redis: Node, databases_pair: PostgresPair, issuer_key_file: Path, tmp_path: Path
) -> None:
    """The primary is lost, and DATABASE_URL leads to its standby. Once that is promoted, a message is taken."""
    row = ROWS["PostgreSQL is read-only"]
    async with (
        Link(databases_pair.url) as link,
        staged(tmp_path, redis.url, link.url, issuer_key_file) as stage,
        stage.users(),
    ):
        await stage.is_well(row)
        link.serve(databases_pair.standby_url)
        await asyncio.to_thread(databases_pair.kill_primary)
        await stage.shows(row, {"relaykit status": r"postgresql: +takes no writes"})
        await asyncio.to_thread(databases_pair.promote)

        async def is_taken() -> bool:
            return (await stage.alice.post(create(str(Script())), keyed(uuid4()))).status_code == 200

        await wait_until("a message is taken", is_taken)


@contextmanager
def locked_again_and_again(database_url: str) -> Iterator[None]:
    """Somebody's session holds the table of the threads, for a while each time."""
    stop = threading.Event()

    def lock() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("LOCK TABLE threads IN ACCESS EXCLUSIVE MODE")
                    stop.wait(LOCK_SECONDS)

    locking = threading.Thread(target=lock)
    locking.start()
    try:
        yield
    finally:
        stop.set()
        locking.join()


@asynccontextmanager
async def pages_are_asked_for(stage: Stage, clients: int) -> AsyncIterator[None]:
    """By so many clients at once, each again and again, whatever the answer."""

    async def ask() -> None:
        while True:
            await stage.alice.post(LIST_THREADS)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask()) for _ in range(clients)]
        try:
            yield
        finally:
            for task in asking:
                task.cancel()


async def test_an_api_s_pool_is_exhausted(
    redis: Node, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Each statement waits for the lock for less than its bound, so that none fails for itself."""
    row = ROWS["An API's pool is exhausted, because something holds a lock"]
    more = {"database_pool_max": 4, "database_timeout_seconds": 3 * LOCK_SECONDS}
    async with staged(tmp_path, redis.url, database_url, issuer_key_file, **more) as stage:
        await stage.is_well(row)
        with locked_again_and_again(database_url):
            async with pages_are_asked_for(stage, clients=30):
                await stage.shows(row, {"relaykit status": r"sessions: .* [1-9]\d* wait for locks"})


async def test_one_tenant_fills_the_queue(
    redis: Node, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    row, gate = ROWS["One tenant fills the queue"], tmp_path / "gate"
    gate.mkdir()
    held = str(Script(gate=str(gate), holds=[1]))
    more = {"max_runs": 2, "queue_max_depth": 20}
    async with staged(tmp_path, redis.url, database_url, issuer_key_file, **more) as stage:
        await stage.is_well(row)
        flood = await stage.system.caller("mallory", "flood")

        async def post() -> None:
            while True:
                async with flood.open_stream(create(held), keyed(uuid4())):
                    await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            posting = group.create_task(post())
            await stage.shows(row, {"relaykit queue": r"TENANT .*\nflood +mallory +\d\d"})
            posting.cancel()
        refused = stage.logged({"action": "request_failed", "code": "queue_full"})
        assert {line["tenant"] for line in refused} == {"flood"}


async def test_the_server_fails_half_of_its_runs(stage: Stage) -> None:
    row = ROWS["The server fails half of its runs"]
    await stage.is_well(row)
    async with stage.users(str(Script(deltas=2)), RAISE):
        await stage.shows(
            row,
            {
                "relaykit status": r"failed +stream\.error +\d",
                "relaykit runs list --status failed --since 1h": r"failed .* stream\.error",
            },
        )
        assert all(
            "observed_servers.py" in str(line["frames"]) for line in stage.logged({"action": "server_failed"})
        )


async def test_the_clock_of_a_worker_is_off(stage: Stage) -> None:
    """Of one more, which has just been started on a host without NTP."""
    row = ROWS["The clock of a worker is off"]
    async with stage.users():
        await stage.is_well(row)
        port = free_port()
        stage.start_worker(port, forked=False, **shifted_clock(300))

        async def is_there() -> bool:
            return bool(await stage.server.query(f'relaykit_workers{{state="claiming"}} == {WORKERS + 1}'))

        await wait_until("the worker is there", is_there, START_SECONDS)
        stage.server.scrape("worker", [*stage.worker_ports, port])
        await stage.shows(row, {"relaykit workers list": r"takes runs .* \+(299|300)\.\ds"})
        told = await stage.server.query("relaykit_clock_offset_seconds")
        assert Counter(each["metric"]["job"] for each in told) == {"relaykit-api": 2, "relaykit-worker": 6}
        assert {
            line["ahead_of_redis_seconds"] // 10 for line in stage.logged({"action": "clocks_differ"})
        } <= {29, 30}
