"""CHATKIT_LIFESPAN and async factories: entered before a process is ready, left after its drain, on the site's loop."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from relaykit.api.main import create_app
from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from relaykit.worker.main import create_worker
from tests.support.clients.stream_clients import asking
from tests.support.servers import lively_site
from tests.support.servers.lively_site import FOLDER, noted
from tests.support.servers.relay_servers import Script
from tests.support.system import START_SECONDS, create, running, running_processes, start_process, wait_until

SITE = "tests.support.servers.lively_site"
SIDES = ("api", "worker")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setattr(lively_site, "pools", [])
    return folder


def lively(settings: Settings, lifespan: str | None = "lifespan", **more: Any) -> Settings:
    update = {"chatkit_server": f"{SITE}:LivelyServer", "chatkit_lifespan": lifespan and f"{SITE}:{lifespan}"}
    return settings.model_copy(update={**update, **more})


async def start(side: str, settings: Settings) -> None:
    """As far as being ready to serve."""
    if side == "worker":
        await create_worker(settings).run()
        return
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        raise AssertionError("the API has started")


@pytest.mark.parametrize("name", ["lifespan", "undecorated"])
async def test_a_lifespan_is_entered_before_the_server_is_built_and_left_after_the_drain(
    settings: Settings, name: str
) -> None:
    """On either side, and `respond()` uses on its loop what the lifespan has opened there."""
    async with running(lively(settings, name, drain_seconds=20)) as system:
        assert noted()[0] == "api entered"
        alice = await system.caller()
        async with asking(alice, create(str(Script(deltas=3)))) as stream:
            assert (await stream.finished()).end == "completed"
    assert noted() == ["api entered", "worker entered", "answered", "worker left", "api left"]


async def test_a_run_that_finishes_in_the_drain_still_has_its_lifespan(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    more = {FOLDER: str(folder)}
    async with running_processes(lively(settings, drain_seconds=30), tmp_path, **more) as system:
        alice = await system.caller()
        script = str(Script(deltas=4, gate=str(gate), holds=[2]))
        async with asking(alice, create(script)) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.updated"))
            (worker,) = system.worker_processes
            worker.popen.send_signal(signal.SIGTERM)
            await wait_until("the worker drains", lambda: "worker_drain" in worker.output)
            assert "worker left" not in noted()
            (gate / "2").touch()
            assert (await stream.finished()).end == "completed"
        assert await asyncio.to_thread(worker.popen.wait, START_SECONDS) == 0
    assert noted().index("answered") < noted().index("worker left")


@pytest.mark.parametrize("name", ["async_factory", "managed_factory"])
async def test_a_factory_may_be_async_or_an_async_context_manager(settings: Settings, name: str) -> None:
    async with running(lively(settings, None, chatkit_server=f"{SITE}:{name}")) as system:
        alice = await system.caller()
        assert (await alice.stream(create(str(Script(deltas=2))))).end == "completed"
    if name == "managed_factory":
        assert noted() == ["factory entered"] * 2 + ["answered"] + ["factory left"] * 2


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "raises": ({}, "raise", "CHATKIT_LIFESPAN={site}:lifespan: RuntimeError at {file}:"),
    "exits": ({}, "exit", "CHATKIT_LIFESPAN={site}:lifespan: SystemExit at {file}:"),
    "hangs": (
        {},
        "hang",
        "CHATKIT_LIFESPAN={site}:lifespan: is not ready after LIFESPAN_SECONDS: it waits at {file}:",
    ),
    "clings": ({}, "cling", "the site's code is not ready after LIFESPAN_SECONDS, and does not end"),
    "yields something else": (
        {"chatkit_lifespan": f"{SITE}:of_nothing"},
        "",
        "CHATKIT_LIFESPAN={site}:of_nothing: yielded a int: a lifespan yields a ChatKitServer, or nothing",
    ),
    "never yields": (
        {"chatkit_lifespan": f"{SITE}:never_yields"},
        "",
        "CHATKIT_LIFESPAN={site}:never_yields: it ends without a `yield`",
    ),
    "gives no context manager": (
        {"chatkit_lifespan": f"{SITE}:not_a_manager"},
        "",
        "CHATKIT_LIFESPAN={site}:not_a_manager: gave a int instead of an async context manager",
    ),
    "an async factory that raises": (
        {"chatkit_lifespan": None, "chatkit_server": f"{SITE}:async_factory"},
        "raise",
        "CHATKIT_SERVER={site}:async_factory: RuntimeError at {file}:",
    ),
    "an async factory that hangs": (
        {"chatkit_lifespan": None, "chatkit_server": f"{SITE}:async_factory"},
        "hang",
        "CHATKIT_SERVER={site}:async_factory: is not ready after LIFESPAN_SECONDS: it waits at {file}:",
    ),
    "an async factory of nothing": (
        {"chatkit_lifespan": None, "chatkit_server": f"{SITE}:async_factory_of_nothing"},
        "",
        "CHATKIT_SERVER={site}:async_factory_of_nothing: gave a NoneType instead of a ChatKitServer",
    ),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("more", "how", "reason"), BAD.values(), ids=BAD)
async def test_a_lifespan_that_cannot_be_entered_is_one_line(
    settings: Settings, folder: Path, side: str, more: dict[str, Any], how: str, reason: str
) -> None:
    """With the setting and the place in the site's code, on either side, and none of the exception's text."""
    (folder / "enter").write_text(how)
    with pytest.raises(ServerLoadError) as refused:
        await start(side, lively(settings, **{"lifespan_seconds": 0.2, **more}))
    (folder / "enter").unlink()
    message = refused.value.message
    assert message.startswith(reason.format(site=SITE, file=lively_site.__file__)), message
    assert "\n" not in message
    assert "Geheim7391" not in message
    assert noted()[-1:] != [f"{side} entered"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("how", ["raise", "hang", "block"])
def test_a_process_whose_lifespan_cannot_be_entered_ends_with_status_2(
    settings: Settings, folder: Path, tmp_path: Path, side: str, how: str
) -> None:
    """It is never ready, and one line has the place: also where the code blocks the loop, which then ends nothing."""
    (folder / "enter").write_text(how)
    bad = lively(settings, lifespan_seconds=0.5)
    process = start_process(side, bad, tmp_path / "log", **{FOLDER: str(folder)})
    try:
        assert process.popen.wait(START_SECONDS) == 2, process.output
    finally:
        process.kill()
    assert f"{lively_site.__file__}:" in process.output
    assert "Traceback" not in process.output
    assert "Geheim7391" not in process.output
    assert "worker_start" not in process.output
    assert 'api_start", "host' not in process.output


@pytest.mark.parametrize(
    ("how", "action"),
    [
        ("raise", "lifespan_failed"),
        ("exit", "lifespan_failed"),
        ("hang", "lifespan_left"),
        ("block", "lifespan_blocked"),
    ],
)
async def test_a_lifespan_that_is_not_left_keeps_no_process(
    settings: Settings, folder: Path, tmp_path: Path, how: str, action: str
) -> None:
    """Its end is a line of the log with the place, and the process ends all the same, with status 0."""
    (folder / "leave").write_text(how)
    async with running_processes(lively(settings), tmp_path, **{FOLDER: str(folder)}) as system:
        (worker,) = system.worker_processes
        (api,) = system.api_processes
        await wait_until("both have entered", lambda: len(noted()) == 2)
        await wait_until("the worker has started", lambda: "worker_start" in worker.output)
        for process in (api, worker):
            process.popen.send_signal(signal.SIGTERM)
        for process in (api, worker):
            status = await asyncio.to_thread(process.popen.wait, START_SECONDS)
            assert status == 0, process.output
            lines = [json.loads(line) for line in process.output.splitlines() if line.startswith("{")]
            (told,) = [line for line in lines if line.get("action") == action]
            assert lively_site.__file__ in json.dumps(told)
            assert "Geheim7391" not in process.output


@pytest.mark.parametrize("side", SIDES)
async def test_a_process_does_not_go_on_without_its_lifespan(
    settings: Settings, folder: Path, tmp_path: Path, side: str
) -> None:
    """A task group around the `yield` ends it where a task fails: a line with the place, and status 1."""
    grouped = lively(settings, chatkit_lifespan=f"{SITE}:with_a_task", shutdown_delay_seconds=0)
    process = start_process(side, grouped, tmp_path / "log", **{FOLDER: str(folder)})
    try:
        await wait_until("it has started", lambda: f"{side}_start" in process.output)
        (folder / "refresh").touch()
        assert await asyncio.to_thread(process.popen.wait, START_SECONDS) == 1, process.output
    finally:
        process.kill()
    assert '"lifespan_ended"' in process.output
    assert f"{lively_site.__file__}:" in process.output
    assert "Geheim7391" not in process.output


async def test_a_cell_has_a_lifespan_of_its_own(settings: Settings, folder: Path, tmp_path: Path) -> None:
    """A run in a process of its own uses what was opened in that process, which leaves it at its end."""
    isolated = lively(settings, isolate_runs=True)
    async with running_processes(isolated, tmp_path, **{FOLDER: str(folder)}) as system:
        alice = await system.caller()
        answer = await alice.stream(create(str(Script(deltas=2))))
        assert answer.end == "completed"
        assert noted().count("worker entered") == 2
        for process in system.worker_processes:
            await asyncio.to_thread(process.terminate)
    await wait_until("both have left", lambda: noted().count("worker left") == 2)
