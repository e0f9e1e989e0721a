"""Runs whose code keeps the worker's event loop for itself: they are named, and do no harm but to themselves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.tasks import end_tasks
from relaykit.worker.keeper.last_resort import BLOCKED_STATUS
from tests.support.clients.stream_clients import Follower, asking, crowd
from tests.support.processes.crash_points import process
from tests.support.servers import blocking_servers
from tests.support.servers.blocking_servers import Blocking, BlockingAnswers, Way
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    START_SECONDS,
    Caller,
    System,
    create,
    free_port,
    keyed,
    make_settings,
    running,
    wait_until,
)

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

LEASE_SECONDS = 2.0
DRAIN_SECONDS = 0.5
END_SECONDS = 60.0
"""For a process that is about to end by itself."""


@dataclass
class Worker:
    """A worker process, with its output in a file."""

    child: ForkServerProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        assert self.child.pid is not None
        os.kill(self.child.pid, number)

    def lines(self, action: str) -> list[dict[str, Any]]:
        """The lines of its log with this action."""
        found = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("action") == action]

    async def ended(self) -> int:
        """The status with which it has ended by itself."""
        await wait_until("the process has ended by itself", lambda: not self.child.is_alive(), END_SECONDS)
        assert self.child.exitcode is not None
        return self.child.exitcode


@dataclass
class Stage:
    system: System
    alice: Caller
    redis: Redis
    database: asyncpg.Connection
    directory: Path
    workers: Iterator[int] = field(default_factory=count)
    keys: Iterator[int] = field(default_factory=count)

    async def row(self, run_id: str) -> asyncpg.Record:
        return await self.database.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)

    @asynccontextmanager
    async def worker(self, **more: Any) -> AsyncIterator[Worker]:
        """A worker process that is ready, killed after the block if it still lives."""
        log = self.directory / f"worker-{next(self.workers)}.log"
        given = {name: str(value) for name, value in more.items()}
        with process("worker", self.system.settings, log, **given) as child:
            worker = Worker(child, log)

            def ready() -> bool:
                assert child.is_alive(), worker.output
                return "worker started" in worker.output

            await wait_until("the worker is ready", ready, START_SECONDS)
            yield worker

    @asynccontextmanager
    async def begun(self, gate: Path, *runs: Blocking) -> AsyncIterator[list[Follower]]:
        """Clients of runs that have begun, and wait for their gate."""
        async with AsyncExitStack() as stack:
            askers = [
                await stack.enter_async_context(
                    asking(self.alice, create(str(run)), keyed(f"{gate}-{next(self.keys)}"))
                )
                for run in runs
            ]
            for asker in askers:
                await asker.until("it has begun", lambda answer: answer.of_type("progress_update"))
            yield askers

    async def assert_completed(self, *askers: Follower) -> None:
        """Whether or not their streams were closed meanwhile, because no worker had them."""
        for asker in askers:

            async def has_ended(asker: Follower = asker) -> bool:
                return (await self.row(asker.run_id))["ended_at"] is not None

            await wait_until("the run has ended", has_ended, END_SECONDS)
            row = await self.row(asker.run_id)
            assert (row["status"], row["error"]) == ("completed", None)

    async def assert_executed_once(self, *askers: Follower) -> None:
        for asker in askers:
            answer = await asker.finished()
            assert answer.end == "completed"
            assert (await self.row(asker.run_id))["attempt"] == 1


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
            chatkit_server="tests.support.servers.blocking_servers:BlockingAnswers",
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings, tmp_path_factory) -> AsyncIterator[Stage]:
    async with (
        running(stage_settings, BlockingAnswers, workers=0) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
    ):
        database = await asyncpg.connect(stage_settings.database_url)
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, redis, database, tmp_path_factory.mktemp("logs"))
        await database.close()


def place(function: str) -> str:
    """As the log names the line of the server's that blocks: file, line and function, but for the line."""
    return f"{blocking_servers.__file__}:{function}"


def named(line: dict[str, Any]) -> tuple[str, str]:
    """Run and place of a line of the log, without the number of the line in its file."""
    file, number, function = line["place"].rsplit(":", 2)
    assert int(number) > 0
    return line["run_id"], f"{file}:{function}"


def waiting(gate: Path) -> Blocking:
    return Blocking(way="wait", gate=str(gate))


# --- leases


async def test_a_call_that_blocks_beyond_the_lease_costs_no_run_an_attempt_and_is_named(stage, tmp_path):
    """Beside another worker that would take what is due."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="sleep", gate=str(gate), seconds=2.5 * LEASE_SECONDS)
    async with stage.worker() as worker, stage.begun(gate, blocks, *[waiting(gate)] * 3) as askers:
        async with stage.worker():
            gate.touch()
            await stage.assert_executed_once(*askers)
        (begin,) = await wait_until("the call is named", lambda: worker.lines("loop_blocked"))
        (end,) = await wait_until("its end is told", lambda: worker.lines("loop_unblocked"))
        assert named(begin) == (askers[0].run_id, place("sleep"))
        assert (
            end["run_id"] == askers[0].run_id
        )  # whose place was looked at last, at the call or right behind it
        assert 1 <= begin["seconds"] < end["seconds"]
        assert end["seconds"] >= 2 * LEASE_SECONDS  # less what went by before the tick
        assert not worker.lines("lease_lost")


async def test_calls_that_block_one_after_the_other_cost_no_run_an_attempt(stage, tmp_path):
    """Five of half a lease at the same moment, and two runs that wait. Beyond BLOCKED_SECONDS only in all."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="sleep", gate=str(gate), seconds=LEASE_SECONDS / 2)
    async with (
        stage.worker(BLOCKED_SECONDS=2 * LEASE_SECONDS),
        stage.begun(gate, *[blocks] * 5, *[waiting(gate)] * 2) as askers,
    ):
        gate.touch()
        await stage.assert_executed_once(*askers)


async def test_runs_that_come_while_calls_block_are_executed_once(stage, tmp_path):
    """Their claims, starts and first entries are under way meanwhile; replies wait for longer than they may."""
    gate = tmp_path / "gate"
    gate.touch()
    blocks = Blocking(way="sleep", gate=str(gate), seconds=2.5 * LEASE_SECONDS)
    async with AsyncExitStack() as stack, stage.worker():
        askers = [
            await stack.enter_async_context(asking(stage.alice, create(str(run)), keyed(f"{gate}-{number}")))
            for number, run in enumerate([blocks, waiting(gate), waiting(gate)] * 4)
        ]
        for asker in askers:
            await asker.until("it is accepted", lambda answer: answer.of_type("stream_options"))
        await stage.assert_completed(*askers)
        for asker in askers:
            assert (await stage.row(asker.run_id))["attempt"] == 1


async def test_a_call_that_keeps_the_interpreter_and_returns_is_named_and_costs_no_attempt(stage, tmp_path):
    """No other thread runs meanwhile, nor any beat. No other worker is there, and the leases are taken again."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="hold", gate=str(gate), seconds=3 * LEASE_SECONDS)
    async with (
        stage.worker(BLOCKED_SECONDS=0) as worker,
        stage.begun(gate, blocks, waiting(gate)) as askers,
    ):
        gate.touch()
        (begin,) = await wait_until("the call is named", lambda: worker.lines("loop_blocked"), END_SECONDS)
        assert named(begin) == (askers[0].run_id, place("hold"))
        await stage.assert_completed(*askers)
        for asker in askers:
            assert (await stage.row(asker.run_id))["attempt"] == 1


async def test_a_worker_that_was_frozen_beyond_its_leases_goes_on_where_nobody_took_them(stage, tmp_path):
    """Whether its heartbeat or its poller comes first. The pause is told, and held against no run."""
    gate = tmp_path / "gate"
    for _ in range(3):
        async with stage.worker() as worker, stage.begun(gate, *[waiting(gate)] * 3) as askers:
            worker.send(signal.SIGSTOP)

            async def leases_are_over(askers: list[Follower] = askers) -> bool:
                return not await stage.redis.exists(*(keys.lease(asker.run_id) for asker in askers))

            await wait_until("the leases are over", leases_are_over)
            await asyncio.sleep(0.5)  # for the pause to be one, whenever the last renewal was
            worker.send(signal.SIGCONT)
            await wait_until("the pause is told", lambda worker=worker: worker.lines("process_paused"))
            assert not worker.lines("loop_blocked")
            await asyncio.sleep(1.5 * LEASE_SECONDS)  # leases that nobody renews would end
            gate.touch()
            await stage.assert_executed_once(*askers)
        gate.unlink()


async def test_a_worker_that_was_frozen_for_longer_than_a_call_may_block_goes_on(stage, tmp_path):
    """The last resort counts the time of a freeze, and is armed anew once the process wakes."""
    gate = tmp_path / "gate"
    async with stage.worker(BLOCKED_SECONDS=6) as worker, stage.begun(gate, waiting(gate)) as askers:
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(8)
        worker.send(signal.SIGCONT)
        await wait_until("the pause is told", lambda: worker.lines("process_paused"))
        await asyncio.sleep(4)  # what was armed before the freeze would end the process meanwhile
        assert worker.child.is_alive(), worker.output
        gate.touch()
        await stage.assert_completed(*askers)  # whose streams were closed meanwhile
    assert (await stage.row(askers[0].run_id))["attempt"] == 1


# --- calls that never return


@pytest.mark.parametrize("way", ["hang", "spin", "task"])
async def test_a_call_that_never_returns_ends_its_process_and_others_have_the_runs_at_once(
    stage, tmp_path, way: Way
):
    """The log names the run, the file and the line; also of a task that the server has started."""
    gate = tmp_path / "gate"
    blocks = Blocking(way=way, gate=str(gate), attempts=1)
    async with (
        stage.worker(BLOCKED_SECONDS=2, LEASE_SECONDS=60) as worker,
        stage.begun(gate, blocks, *[waiting(gate)] * 2) as askers,
    ):
        gate.touch()
        assert await worker.ended() == BLOCKED_STATUS
        (line,) = worker.lines("worker_blocked")
        assert named(line) == (askers[0].run_id, place("hang" if way == "hang" else "spin"))
        assert (line["level"], line["seconds"] >= 2) == ("critical", True)
        async with stage.worker():  # long before a lease of the one before would have ended
            await stage.assert_completed(*askers)


async def test_a_call_that_keeps_the_interpreter_for_itself_ends_its_process_too(stage, tmp_path):
    """A catastrophic regular expression: no other thread runs Python. What is left is the stack on stderr."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="regex", gate=str(gate), attempts=1)
    async with stage.worker(BLOCKED_SECONDS=1.5) as worker, stage.begun(gate, blocks) as (asker,):
        gate.touch()
        assert await worker.ended() == 1
        assert "Timeout" in worker.output
        assert f'"{blocking_servers.__file__}", line' in worker.output
        async with stage.worker():
            await stage.assert_completed(asker)


async def test_a_run_that_hangs_in_each_attempt_fails_and_is_named_each_time(stage, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    blocks = Blocking(way="hang", gate=str(gate))
    settings = {"BLOCKED_SECONDS": 1.5, "RUN_MAX_ATTEMPTS": 2}
    async with asking(stage.alice, create(str(blocks)), keyed(gate)) as asker:
        async with stage.worker(**settings) as worker:
            assert await worker.ended() == BLOCKED_STATUS
            (line,) = worker.lines("worker_blocked")
            assert named(line) == (asker.run_id, place("hang"))
        async with stage.worker(**settings) as worker:

            async def has_failed() -> bool:
                row = await stage.row(asker.run_id)
                return (row["status"], row["error"]) == ("failed", "attempts_exhausted")

            await wait_until("the run has failed", has_failed, END_SECONDS)
            (line,) = worker.lines("worker_blocked")
            assert named(line) == (asker.run_id, place("hang"))
            assert worker.child.is_alive(), "the suspect is executed in a process of its own"


# --- SIGTERM


async def test_sigterm_is_heard_while_a_call_blocks_the_loop(stage, tmp_path):
    """The call returns within DRAIN_SECONDS: its run completes, and the process ends as it should."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="sleep", gate=str(gate), seconds=4)
    async with stage.worker(DRAIN_SECONDS=20) as worker, stage.begun(gate, blocks) as (asker,):
        gate.touch()
        await wait_until("the call is named", lambda: worker.lines("loop_blocked"))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
        await stage.assert_executed_once(asker)
        assert worker.lines("worker_drain")


async def test_sigterm_ends_a_process_whose_loop_stands_still_for_ever(stage, tmp_path):
    """Where BLOCKED_SECONDS does not. Its runs are another's at once."""
    gate = tmp_path / "gate"
    blocks = Blocking(way="hang", gate=str(gate), attempts=1)
    async with stage.worker(BLOCKED_SECONDS=0) as worker, stage.begun(gate, blocks, waiting(gate)) as askers:
        gate.touch()
        await wait_until("the call is named", lambda: worker.lines("loop_blocked"))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == BLOCKED_STATUS
        (line,) = worker.lines("worker_blocked")
        assert named(line) == (askers[0].run_id, place("hang"))
        async with stage.worker():
            await stage.assert_completed(*askers)


# --- probes


async def get(port: int, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        return await client.get(path)


def metric(text: str, name: str) -> float:
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)


async def test_the_probes_of_a_worker_answer_while_a_call_blocks_its_loop(stage, tmp_path):
    gate, port = tmp_path / "gate", free_port()
    blocks = Blocking(way="hang", gate=str(gate))
    async with stage.worker(WORKER_PORT=port) as worker, stage.begun(gate, blocks) as (asker,):
        for path in ("/healthz", "/readyz"):
            assert (await get(port, path)).json() == {"status": "ok"}
        text = (await get(port, "/metrics")).text
        assert metric(text, "relaykit_worker_runs") == 1
        assert metric(text, "relaykit_worker_blocked_total") == 0
        gate.touch()
        await wait_until("the call is named", lambda: worker.lines("loop_blocked"))
        assert (await get(port, "/healthz")).status_code == 200
        ready = await get(port, "/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "blocked")
        text = (await get(port, "/metrics")).text
        assert metric(text, "relaykit_worker_blocked_total") == 1
        assert metric(text, "relaykit_worker_blocked_seconds_total") >= 1
        assert (await stage.alice.cancel(asker.run_id)).status_code == 202


async def test_a_worker_that_drains_is_not_ready(stage, tmp_path):
    gate, port = tmp_path / "gate", free_port()
    async with stage.worker(WORKER_PORT=port, DRAIN_SECONDS=60) as worker:
        async with stage.begun(gate, waiting(gate)) as (asker,):
            worker.send(signal.SIGTERM)
            await wait_until("it drains", lambda: worker.lines("worker_drain"))
            ready = await get(port, "/readyz")
            assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
            assert (await get(port, "/healthz")).status_code == 200
            gate.touch()
            await stage.assert_executed_once(asker)
        assert await worker.ended() == 0


# --- runs in processes of their own


async def test_isolated_runs_wait_for_none_that_blocks_and_go_with_none_that_kills(stage, tmp_path):
    """Two of 4 s each are over while one hangs, and the worker is as ready as ever."""
    gate, later, port = tmp_path / "gate", tmp_path / "later", free_port()
    hangs = Blocking(way="hang", gate=str(gate), attempts=1)
    kills = Blocking(way="kill", gate=str(gate), attempts=1)
    blocks = Blocking(way="sleep", gate=str(gate), seconds=2 * LEASE_SECONDS)
    settings = {"BLOCKED_SECONDS": 0, "WORKER_PORT": port, "ISOLATE_RUNS": True, "SUSPECT_PROCESSES": 0}
    async with (
        stage.worker(**settings) as worker,
        stage.begun(gate, hangs, kills, blocks, blocks, waiting(gate), waiting(later)) as askers,
    ):
        assert metric((await get(port, "/metrics")).text, "relaykit_worker_runs") == 6
        gate.touch()
        await stage.assert_executed_once(*askers[2:5])
        await stage.assert_completed(askers[1])
        assert (await stage.row(askers[1].run_id))["attempt"] == 2
        (died,) = worker.lines("suspect_died")
        assert (died["run_id"], died["company"]) == (askers[1].run_id, 1)
        assert (await get(port, "/readyz")).json() == {"status": "ok"}
        worker.send(signal.SIGTERM)
        await worker.ended()
        assert (askers[0].run_id, place("hang")) in map(named, worker.lines("loop_blocked"))
        async with stage.worker():  # what a cell hands back, as a worker does
            later.touch()
            await stage.assert_completed(askers[5], askers[0])
        assert (await stage.row(askers[5].run_id))["handed_back"] == 1


# --- all kinds of harm at once


@pytest.mark.parametrize("isolated", [False, True])
async def test_beside_ten_blocks_a_hang_and_a_kill_twenty_runs_complete_and_none_of_their_attempts_counts(
    stage, tmp_path, isolated: bool
):
    """One worker with a lease of 5 s, which is started again whenever it ends. Isolated runs are executed once."""
    gate = tmp_path / "gate"
    blocks = [Blocking(way="sleep", gate=str(gate), seconds=8)] * 10
    deadly = [Blocking(way="hang", gate=str(gate)), Blocking(way="kill", gate=str(gate))]
    settings = {
        "LEASE_SECONDS": 5,
        "BLOCKED_SECONDS": 20,
        "RUN_MAX_ATTEMPTS": 2,
        "ISOLATE_RUNS": isolated,
    }
    workers: list[Worker] = []

    async def keep() -> None:
        while True:
            async with stage.worker(**settings) as worker:
                workers.append(worker)
                while worker.child.is_alive():
                    await asyncio.sleep(0.1)

    keeping = asyncio.create_task(keep())
    try:
        async with stage.begun(gate, *[waiting(gate)] * 20, *blocks, *deadly) as askers:
            gate.touch()
            run_ids = [asker.run_id for asker in askers]

            async def rows() -> list[asyncpg.Record] | None:
                found = [await stage.row(run_id) for run_id in run_ids]
                return found if all(row["ended_at"] is not None for row in found) else None

            found = await wait_until("all runs have ended", rows, 600)
    finally:
        await end_tasks([keeping])
    for name, part in (
        ("twenty", found[:20]),
        ("ten", found[20:30]),
        ("hang", found[30:31]),
        ("kill", found[31:]),
    ):
        print(name, [(row["status"], row["attempt"], row["attempt"] - row["handed_back"]) for row in part])
    assert {(row["status"], row["error"]) for row in found[:30]} == {("completed", None)}
    assert {row["attempt"] - row["handed_back"] for row in found[:30]} == {1}
    if isolated:
        assert {row["attempt"] for row in found[:30]} == {1}
        assert len(workers) == 1
    assert {(row["status"], row["error"]) for row in found[30:]} == {("failed", "attempts_exhausted")}
    lines = [line for worker in workers for action in NAMING for line in worker.lines(action)]
    places = {str(line.get("place")) + " ".join(line.get("frames", [])) for line in lines}
    for function in ("sleep", "hang", "kill"):
        pattern = re.compile(rf"{re.escape(str(blocking_servers.__file__))}:\d+:{function}\b")
        assert any(pattern.search(each) for each in places), f"no line names {function}"


NAMING = ("loop_blocked", "worker_blocked", "suspect_died")
