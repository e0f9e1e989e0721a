"""A process ends once its work is done, with its log written and its own status, whatever the site's code leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relaykit.shared.process.end import END_SECONDS
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import Follower, asking
from tests.support.processes.local_mode import LocalMode, temporary_data_dir
from tests.support.servers.crashing_servers import Crash
from tests.support.system import (
    ROOT,
    START_SECONDS,
    Process,
    Processes,
    create,
    environment,
    running_processes,
    start_process,
    wait_until,
)

pytestmark = pytest.mark.long

ENDS_WITHIN = START_SECONDS
"""To tell an end from none."""


def crashing(settings: Settings, server: str = "Crashing", **more: Any) -> Settings:
    return settings.model_copy(
        update={
            "chatkit_server": f"tests.support.servers.crashing_servers:{server}",
            "drain_seconds": 0.5,
            "lease_seconds": 30,
            **more,
        }
    )


@asynccontextmanager
async def system_of(settings: Settings, folder: Path) -> AsyncIterator[Processes]:
    async with running_processes(settings, folder, start=start_process) as system:
        await wait_until("the worker has started", lambda: line(system.worker_processes[0], "worker_start"))
        yield system


@asynccontextmanager
async def started(side: str, settings: Settings, folder: Path) -> AsyncIterator[Process]:
    """One process that serves; killed after the block if it still lives."""
    process = start_process(side, settings, folder / f"{side}.log")
    try:
        await wait_until(
            "it has started, or ended",
            lambda: line(process, f"{side}_start") or process.popen.poll() is not None,
            START_SECONDS,
        )
        assert process.popen.poll() is None, process.output
        yield process
    finally:
        process.kill()


def line(process: Process, action: str) -> dict[str, Any] | None:
    found = [each for each in process.output.splitlines() if f'"action": "{action}"' in each]
    assert len(found) < 2, found
    return json.loads(found[0]) if found else None


async def ends(process: Process, number: signal.Signals = signal.SIGTERM) -> int:
    process.popen.send_signal(number)
    return await ended(process)


async def ended(process: Process) -> int:
    return await asyncio.to_thread(process.popen.wait, ENDS_WITHIN)


async def ready(asker: Follower) -> None:
    await asker.until("it is being answered", lambda answer: answer.of_type("progress_update"))


async def test_a_worker_ends_though_a_stopped_run_has_left_a_thread_that_hangs(
    settings: Settings, tmp_path: Path
) -> None:
    """`asyncio.to_thread` of a call that never returns; the run was stopped by its user."""
    async with system_of(crashing(settings), tmp_path) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Crash(at="hung thread")))) as asker:
            await ready(asker)
            await alice.cancel(asker.run_id)
            assert (await asker.finished()).end == "cancelled"
        (worker,) = system.worker_processes
        assert await ends(worker) == 0
        assert line(worker, "worker_stop")
        forced = line(worker, "process_end_forced")
        assert forced
        (thread,) = forced["threads"]
        assert thread.startswith("uvloop_")
        assert (forced["tasks"], forced["seconds"]) == ([], END_SECONDS)


async def test_a_worker_ends_though_a_run_has_left_a_task_that_swallows_its_cancellation(
    settings: Settings, tmp_path: Path
) -> None:
    """What libraries have registered for the end is called all the same; and SIGTERM is heard after `sys.exit()`."""
    async with system_of(crashing(settings, "Saying"), tmp_path) as system:
        alice = await system.caller()
        assert (await alice.stream(create(str(Crash(raises="exit", at="abandoned task"))))).end == "completed"
        assert (await alice.stream(create(str(Crash(at="deaf task"))))).end == "completed"
        (worker,) = system.worker_processes
        assert await ends(worker) == 0
        left = line(worker, "tasks_left")
        assert left
        assert left["tasks"] == ["Crashing.deaf"]
        assert line(worker, "process_end_forced") is None
        assert "the exit handler was called" in worker.output


async def test_a_worker_ends_though_a_run_swallows_its_cancellation(
    settings: Settings, tmp_path: Path
) -> None:
    async with system_of(crashing(settings, lease_seconds=20), tmp_path) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Crash(at="deaf")))) as asker:
            await ready(asker)
            (worker,) = system.worker_processes
            assert await ends(worker) == 0
            assert line(worker, "worker_stop")
            assert line(worker, "tasks_left")


def assert_forced(process: Any, side: str) -> None:
    """In an API the site's code runs in a daemon thread, whose threads are daemons too: nothing waits for them."""
    forced = line(process, "process_end_forced")
    assert (forced and forced["threads"]) == (None if side == "api" else ["exporter"])


@pytest.mark.parametrize(
    ("side", "number"), [("api", signal.SIGTERM), ("api", signal.SIGINT), ("worker", signal.SIGTERM)]
)
async def test_a_process_ends_though_a_library_has_a_thread_that_does_not(
    settings: Settings, tmp_path: Path, side: str, number: signal.Signals
) -> None:
    async with started(side, crashing(settings, "Lingering"), tmp_path) as process:
        assert await ends(process, number) == 0
        assert_forced(process, side)


@pytest.mark.parametrize("side", ["api", "worker"])
async def test_a_process_ends_though_an_exit_handler_hangs(
    settings: Settings, tmp_path: Path, side: str
) -> None:
    """The line says where the main thread stands."""
    async with started(side, crashing(settings, "Flushing"), tmp_path) as process:
        assert await ends(process) == 0
        forced = line(process, "process_end_forced")
        assert forced
        assert any(place.endswith(":hanging_exit_handler") for place in forced["main_thread"])


async def test_an_api_ends_though_a_request_has_left_a_task_that_swallows_its_cancellation(
    settings: Settings, tmp_path: Path
) -> None:
    async with system_of(crashing(settings, "Saying"), tmp_path) as system:
        alice = await system.caller()
        audio = base64.b64encode(b" at deaf task").decode()
        params = {"audio_base64": audio, "mime_type": "audio/webm"}
        await alice.ask({"type": "input.transcribe", "params": params})
        (api,) = system.api_processes
        assert await ends(api) == 0
        assert line(api, "api_stop")
        assert "the exit handler was called" in api.output


@pytest.mark.parametrize("side", ["api", "worker"])
async def test_a_process_with_nothing_left_ends_without_a_word(
    settings: Settings, tmp_path: Path, side: str
) -> None:
    async with started(side, crashing(settings, "Saying"), tmp_path) as process:
        assert await ends(process) == 0
        assert line(process, "process_end_forced") is None
        assert line(process, "tasks_left") is None
        assert "the exit handler was called" in process.output


@pytest.mark.parametrize("side", ["api", "worker"])
async def test_a_process_that_cannot_start_ends_with_its_reason_and_its_status(
    settings: Settings, tmp_path: Path, side: str
) -> None:
    """Though a thread of the site's code does not end."""
    away = crashing(settings, "Lingering", database_url="postgresql://127.0.0.1:1/x")
    process = start_process(side, away, tmp_path / "log")
    assert await ended(process) == 2
    assert "database_unavailable" in process.output or "cannot start" in process.output
    assert_forced(process, side)


async def test_a_worker_whose_main_task_ends_is_no_zombie(settings: Settings, tmp_path: Path) -> None:
    """A run cancels every task there is, while another one is in mid-answer: one critical line, and another worker."""
    async with system_of(crashing(settings), tmp_path) as system:
        alice = await system.caller()
        async with asking(alice, create(str(Crash(gate=str(tmp_path / "gate"))))) as beside:
            await ready(beside)
            killer = asyncio.create_task(alice.post(create(str(Crash(at="all tasks")))))
            (worker,) = system.worker_processes
            assert await ended(worker) == 1
            failed = line(worker, "worker_failed")
            assert failed
            assert (failed["level"], failed["error_type"]) == ("critical", "CancelledError")
            assert "waiting for PostgreSQL" not in worker.output
            killer.cancel()
            await asyncio.gather(killer, return_exceptions=True)


FAILING_LOOP = """
import asyncio
from {module} import {name}
from relaykit.shared.process.main_loop import MainLoop
from {side}.__main__ import main

async def run(self):
    {ends}

{name}.run = run
loop = MainLoop()
loop.end(main(loop))
"""


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ('raise RuntimeError("a secret")', "RuntimeError"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("return", None),
    ],
    ids=["fails", "is cancelled", "returns"],
)
@pytest.mark.parametrize(
    ("side", "module", "name", "action"),
    [
        ("worker", "relaykit.worker.reaper.reaper", "Reaper", "loop_failed"),
        ("api", "relaykit.api.relay.liveness", "LivenessCheck", "hub_failed"),
        ("api", "relaykit.api.http.connections", "Connections", "connections_failed"),
    ],
)
async def test_a_process_of_which_a_part_has_failed_drains_and_says_so_by_its_status(
    settings: Settings,
    tmp_path: Path,
    side: str,
    module: str,
    name: str,
    action: str,
    ends: str,
    told: str | None,
) -> None:
    """So that whatever starts processes again after failures alone starts this one."""
    code = FAILING_LOOP.format(side=side, module=module, name=name, ends=ends)
    log = tmp_path / "log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment(settings), stdout=output, stderr=output
        )
    process = Process(popen, log)
    try:
        assert await ended(process) == 1
        failed = line(process, action)
        assert failed
        assert failed.get("error_type") == told
        assert "a secret" not in process.output
    finally:
        process.kill()


async def test_ctrl_c_ends_local_mode_though_threads_hang() -> None:
    """As quickly as the processes end; what they say of it is in their logs."""
    with temporary_data_dir() as folder:
        more = {"CHATKIT_SERVER": "tests.support.servers.crashing_servers:Lingering", "DRAIN_SECONDS": "0.5"}
        mode = LocalMode(folder, **more)
        try:
            await asyncio.to_thread(mode.ready)
            mode.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(mode.ended) == 0
            assert "process_end_forced" in (folder / "logs" / "worker-0.log").read_text()
        finally:
            mode.process.kill()
            mode.process.wait()


# --- loading


RUN_AT_IMPORT = """
import asyncio

async def prompt(): return "be brief"

PROMPT = asyncio.run(prompt())
from tests.support.servers.crashing_servers import Crashing
"""
NESTED_LOOPS = """
import asyncio

loop = asyncio.get_event_loop()  # as nest_asyncio.apply() does
if not isinstance(loop, asyncio.BaseEventLoop):
    raise ValueError("Can't patch loop")
from tests.support.servers.crashing_servers import Crashing
"""
TASK_IN_CONSTRUCTOR = """
import asyncio
from tests.support.servers.crashing_servers import Crashing as Base

async def refresh():
    while True:
        await asyncio.sleep(60)

class Crashing(Base):
    def __init__(self, store):
        super().__init__(store)
        self.refresher = {create_task}(refresh())
"""


@pytest.mark.parametrize("side", ["api", "worker"])
@pytest.mark.parametrize("source", [RUN_AT_IMPORT, NESTED_LOOPS], ids=["asyncio.run", "nested loops"])
async def test_a_module_that_runs_a_loop_when_it_is_imported_is_loaded_by_both(
    settings: Settings, tmp_path: Path, side: str, source: str
) -> None:
    (tmp_path / "our_loop.py").write_text(source)
    loaded = settings.model_copy(update={"chatkit_server": "our_loop:Crashing", "app_dir": tmp_path})
    async with started(side, loaded, tmp_path) as process:
        assert await ends(process) == 0


@pytest.mark.parametrize("side", ["api", "worker"])
@pytest.mark.parametrize(
    ("create_task", "found"),
    [
        ("asyncio.create_task", "RuntimeError at {folder}/our_task.py:12 in __init__"),
        ("asyncio.get_event_loop().create_task", "it starts tasks"),
    ],
)
async def test_a_constructor_that_starts_a_task_is_refused_by_both_in_one_line(
    settings: Settings, tmp_path: Path, side: str, create_task: str, found: str
) -> None:
    (tmp_path / "our_task.py").write_text(TASK_IN_CONSTRUCTOR.replace("{create_task}", create_task))
    loaded = settings.model_copy(update={"chatkit_server": "our_task:Crashing", "app_dir": tmp_path})
    process = start_process(side, loaded, tmp_path / "log")
    try:
        assert await ended(process) == 2
        place = found.replace("{folder}", str(tmp_path))
        assert process.output == (
            f"relaykit {side}: server_not_loadable: CHATKIT_SERVER=our_task:Crashing: {place}: "
            "no event loop runs while the server is loaded; do this on the first request, for instance in respond()\n"
        )
    finally:
        process.kill()


@pytest.mark.parametrize("side", ["api", "worker"])
async def test_an_interrupt_when_the_module_is_imported_is_told_in_one_line(
    settings: Settings, tmp_path: Path, side: str
) -> None:
    (tmp_path / "our_fail.py").write_text("raise KeyboardInterrupt")
    loaded = settings.model_copy(update={"chatkit_server": "our_fail:Crashing", "app_dir": tmp_path})
    process = start_process(side, loaded, tmp_path / "log")
    try:
        assert await ended(process) == 2
        assert process.output == (
            f"relaykit {side}: server_not_loadable: CHATKIT_SERVER=our_fail:Crashing: "
            f"KeyboardInterrupt at {tmp_path}/our_fail.py:1 in <module>\n"
        )
    finally:
        process.kill()
