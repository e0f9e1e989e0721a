"""Runs that end their process, and those beside them: who does harm bears it, and the others go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.servers.deadly_servers import DIE_SECONDS
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    ROOT,
    START_SECONDS,
    Answer,
    Caller,
    Process,
    Processes,
    create,
    free_port,
    keyed,
    make_settings,
    running_processes,
    wait_until,
)

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

LEASE_SECONDS = 3.0
HOLD = 3
FINISH_SECONDS = 120.0
MAX_ATTEMPTS = 3


@dataclass
class Supervised:
    """A worker that is started again as often as it ends."""

    processes: list[Process] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(process.output for process in self.processes)

    def lines(self, action: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("action") == action]


@dataclass
class Stage:
    system: Processes
    alice: Caller
    database: asyncpg.Connection

    async def rows(self, *run_ids: str) -> list[asyncpg.Record]:
        return await self.database.fetch("SELECT * FROM runs WHERE id = ANY ($1)", run_ids)

    @asynccontextmanager
    async def worker(self, **more: Any) -> AsyncIterator[Process]:
        process = self.system.start_worker(**{name: str(value) for name, value in more.items()})

        def ready() -> bool:
            assert process.popen.poll() is None, process.output
            return "worker started" in process.output

        try:
            await wait_until("the worker is ready", ready, START_SECONDS)
            yield process
        finally:
            if process.popen.poll() is None:
                process.kill()

    @asynccontextmanager
    async def supervised(self, **more: Any) -> AsyncIterator[Supervised]:
        supervised = Supervised()

        async def supervise() -> None:
            while True:
                async with self.worker(**more) as process:
                    supervised.processes.append(process)
                    while process.popen.poll() is None:
                        await asyncio.sleep(0.05)

        task = asyncio.create_task(supervise())
        try:
            await wait_until(
                "the worker is ready", lambda: supervised.processes or task.done(), START_SECONDS
            )
            yield supervised
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def ask(self, number: int, script: str) -> list[str]:
        """As many runs, whose askers do not stay: while all workers are gone streams would be closed anyway."""
        run_ids = []
        for _ in range(number):
            async with asking(self.alice, create(script), keyed(os.urandom(8).hex())) as asker:
                run_ids.append(await asker.until("it is accepted", lambda answer: answer.run_id))
        return run_ids


@pytest.fixture(scope="module")
def stage_settings(
    redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path
) -> Iterator[Settings]:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            lease_seconds=LEASE_SECONDS,
            drain_seconds=0.5,
            run_max_attempts=MAX_ATTEMPTS,
            chatkit_server="tests.support.servers.deadly_servers:DeadlyAnswers",
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with running_processes(stage_settings, tmp_path_factory.mktemp("logs"), workers=0) as system:
        database = await asyncpg.connect(stage_settings.database_url)
        yield Stage(system, await crowd(system, await system.caller()), database)
        await database.close()


@pytest.fixture(autouse=True)
def opened_gate(tmp_path: Path) -> Iterator[None]:
    """What a test that fails has left is no matter of the next."""
    yield
    open_gate(tmp_path, HOLD)


def held(folder: Path) -> str:
    """An answer that stops in the middle until its gate opens."""
    return str(Script(deltas=6, gate=str(folder), holds=[HOLD]))


async def begun(stage: Stage, run_ids: list[str], attempt: int) -> None:
    async def all_begun() -> bool:
        return all(row["attempt"] >= attempt for row in await stage.rows(*run_ids))

    await wait_until(f"attempt {attempt} of all has begun", all_begun, FINISH_SECONDS)


async def ended(stage: Stage, *run_ids: str) -> list[asyncpg.Record]:
    async def rows() -> list[asyncpg.Record]:
        found = await stage.rows(*run_ids)
        return found if all(row["ended_at"] for row in found) else []

    return await wait_until("the runs have ended", rows, FINISH_SECONDS)


def place_of(way: str) -> str:
    """File, line and function of where it ends its process."""
    file = ROOT / "tests" / "support" / "servers" / "deadly_servers.py"
    lines = file.read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if line.endswith(f"# the place: {way}")]
    return f"{file}:{number}:{way}"


HOW = {"kill": "SIGKILL", "leave": "exit status 7", "fault": "SIGSEGV"}


@pytest.mark.parametrize("way", HOW)
async def test_beside_a_run_that_ends_its_process_three_others_complete_executed_twice_at_most(
    stage: Stage, tmp_path: Path, way: str
) -> None:
    """The one fails after as many attempts as it has, and the log names its place."""
    async with stage.supervised() as worker:
        others = await stage.ask(3, held(tmp_path))
        await begun(stage, others, 1)
        [killer] = await stage.ask(1, f"{way} {tmp_path}")
        [last] = await ended(stage, killer)
        open_gate(tmp_path, HOLD)
        rows = await ended(stage, *others)
    assert [(row["status"], row["attempt"]) for row in rows] == [("completed", 2)] * 3
    assert (last["status"], last["error"]) == ("failed", "attempts_exhausted")
    assert last["attempt"] - last["handed_back"] == MAX_ATTEMPTS + 1
    answer = await stage.alice.resume(killer, None)
    assert answer.events[-1] == {"type": "error", "code": "stream.error", "allow_retry": True}
    died = worker.lines("suspect_died")
    assert [line["how"] for line in died] == [HOW[way]] * MAX_ATTEMPTS
    assert {line["run_id"] for line in died} == {killer}
    assert all(place_of(way) in line["frames"] for line in died), died
    assert len(worker.processes) == 2, "the worker itself died once"


async def test_twenty_beside_a_run_that_kills_its_process_complete(stage: Stage, tmp_path: Path) -> None:
    """They are parted again and again until the one is alone: it is the only one that is executed five times."""
    async with stage.supervised() as worker:
        others = await stage.ask(20, held(tmp_path))
        await begun(stage, others, 1)
        [killer] = await stage.ask(1, f"kill {tmp_path}")
        await begun(stage, [*others, killer], 2)
        open_gate(tmp_path, HOLD)
        rows = await ended(stage, *others)
        [last] = await ended(stage, killer)
    assert {row["status"] for row in rows} == {"completed"}
    assert max(row["attempt"] for row in rows) <= 4
    assert {row["attempt"] - row["handed_back"] for row in rows} == {1}
    assert (last["status"], last["error"]) == ("failed", "attempts_exhausted")
    assert worker.lines("suspect_died")[-1]["run_id"] == killer


async def lost(stage: Stage, worker: Supervised, folder: Path, number: int) -> tuple[list[str], list[int]]:
    """Runs that are in mid-answer in cells, because their worker was killed; and the processes of the cells."""
    run_ids = await stage.ask(number, held(folder))
    await begun(stage, run_ids, 1)
    worker.processes[-1].kill()
    await begun(stage, run_ids, 2)
    return run_ids, cells_of(worker.processes[-1])


def is_in_mid_answer(answer: Answer) -> bool:
    updates = [event["update"] for event in answer.of_type("thread.item.updated")]
    return sum(update.get("delta", "").startswith("2.") for update in updates) == HOLD


def cells_of(worker: Process) -> list[int]:
    """The processes that the worker's fork server has forked."""
    [fork_server] = children(worker.popen.pid)
    return children(fork_server)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split() if is_alive(int(line))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def all_gone(pids: list[int]) -> None:
    await wait_until("the cells have ended", lambda: not any(map(is_alive, pids)), FINISH_SECONDS)


async def test_a_worker_that_is_killed_costs_no_run_an_attempt_and_four_processes(
    stage: Stage, tmp_path: Path
) -> None:
    """Nor does a second one: its cells hand back what they have, and end."""
    async with stage.supervised() as worker:
        run_ids, cells = await lost(stage, worker, tmp_path, 12)
        assert len(cells) == stage.system.settings.suspect_processes == 4
        worker.processes[-1].kill()
        await all_gone(cells)
        await begun(stage, run_ids, 3)
        assert len(cells_of(worker.processes[-1])) == 4
        open_gate(tmp_path, HOLD)
        rows = await ended(stage, *run_ids)
        assert worker.lines("suspect_died") == []
    assert {(row["status"], row["attempt"], row["handed_back"]) for row in rows} == {("completed", 3, 2)}


async def test_the_cells_of_a_worker_that_drains_hand_their_runs_back(stage: Stage, tmp_path: Path) -> None:
    """At no cost, and the run is stopped by its user in the next worker's cell as in any."""
    async with stage.supervised() as worker:
        run_ids, cells = await lost(stage, worker, tmp_path, 3)
        drained = worker.processes[-1]
        assert await asyncio.to_thread(drained.terminate, FINISH_SECONDS) == 0
        await all_gone(cells)
        assert drained.output.count("attempt_handed_back") == 3
        await begun(stage, run_ids, 3)
        assert len(cells_of(worker.processes[-1])) == 3
        assert (await stage.alice.cancel(run_ids[0])).status_code == 202
        [stopped] = await ended(stage, run_ids[0])
        open_gate(tmp_path, HOLD)
        rows = await ended(stage, *run_ids[1:])
    assert stopped["status"] == "cancelled"
    assert {(row["status"], row["attempt"], row["handed_back"]) for row in rows} == {("completed", 3, 2)}


async def test_a_suspect_that_waits_for_a_cell_is_stopped_by_its_user(stage: Stage, tmp_path: Path) -> None:
    """Two that were lost with their cell are executed one after the other where there is one cell."""
    async with stage.supervised(SUSPECT_PROCESSES=1) as worker:
        run_ids, [cell] = await lost(stage, worker, tmp_path, 2)
        for run_id in run_ids:
            async with following(stage.alice, run_id) as follower:
                await follower.until("its second attempt is in mid-answer", is_in_mid_answer)
        os.kill(cell, signal.SIGKILL)

        async def one_has_begun() -> list[str]:
            return [row["id"] for row in await stage.rows(*run_ids) if row["attempt"] == 3]

        [first] = await wait_until("one goes on", one_has_begun, FINISH_SECONDS)
        [waiting] = set(run_ids) - {first}
        assert (await stage.alice.cancel(waiting)).status_code == 202
        [stopped] = await ended(stage, waiting)
        [row] = await stage.rows(first)
        assert (stopped["status"], row["status"], row["attempt"]) == ("cancelled", "running", 3)
        open_gate(tmp_path, HOLD)
        [row] = await ended(stage, first)
    assert (row["status"], row["attempt"], row["handed_back"]) == ("completed", 3, 2)
    assert [line["company"] for line in worker.lines("suspect_died")] == [2, 2]
    assert all(
        any("relay_servers.py" in place for place in line["frames"]) for line in worker.lines("suspect_died")
    )


async def test_a_worker_whose_fork_server_is_gone_executes_suspects_itself(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.supervised() as worker:
        run_ids = await stage.ask(2, held(tmp_path))
        await begun(stage, run_ids, 1)
        async with stage.worker() as other:
            [fork_server] = children(other.popen.pid)
            os.kill(fork_server, signal.SIGKILL)
            worker.processes[-1].popen.send_signal(signal.SIGSTOP)
            await begun(stage, run_ids, 2)
            assert children(other.popen.pid) == []
            open_gate(tmp_path, HOLD)
            rows = await ended(stage, *run_ids)
            assert "fork_server_ended" in other.output
    assert {(row["status"], row["attempt"], row["handed_back"]) for row in rows} == {("completed", 2, 1)}


async def test_a_cell_that_stands_still_is_killed(stage: Stage, tmp_path: Path) -> None:
    """Native code that lets no thread go on: its place is in the log, and the run fails after its attempts."""
    async with stage.supervised() as worker:
        [frozen] = await stage.ask(1, f"freeze {tmp_path}")
        await begun(stage, [frozen], 1)
        await asyncio.sleep(2 * DIE_SECONDS)
        worker.processes[-1].kill()  # a probe of its liveness does that
        [row] = await ended(stage, frozen)
        assert (row["status"], row["error"]) == ("failed", "attempts_exhausted")
        died = worker.lines("suspect_died")
        assert {line["how"] for line in died} == {"SIGKILL"}
        # on a busy machine one may be killed before its attempt has begun, which costs none
        assert len(worker.lines("cell_frozen")) == len(died) >= MAX_ATTEMPTS - 1


async def test_without_processes_for_suspects_a_worker_executes_them_and_each_loss_counts(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.supervised(SUSPECT_PROCESSES=0) as worker:
        run_ids = await stage.ask(2, held(tmp_path))
        await begun(stage, run_ids, 1)
        worker.processes[-1].kill()
        await begun(stage, run_ids, 2)
        assert children(worker.processes[-1].popen.pid) == []
        open_gate(tmp_path, HOLD)
        rows = await ended(stage, *run_ids)
    assert {(row["status"], row["attempt"], row["handed_back"]) for row in rows} == {("completed", 2, 0)}
