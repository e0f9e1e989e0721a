"""`relaykit dev` in a site's folder: what is saved is what answers, and the terminal says what happens."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.client_view import shown, texts
from tests.support.clients.retrying_client import RetryingClient
from tests.support.clients.stream_clients import cursors
from tests.support.processes.local_mode import (
    LocalMode,
    called,
    descendants,
    kill_all,
    signed_in,
    temporary_data_dir,
    wait_until,
)
from tests.support.sites.dev_site import COUNTED, NAME, Site
from tests.support.system import ROOT, Answer, Caller, create

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


@pytest.fixture
def dev(site: Site) -> Iterator[Callable[..., LocalMode]]:
    """`relaykit dev` for the site; what is left of it at the end is killed."""
    with temporary_data_dir() as data_dir:
        modes: list[LocalMode] = []

        def start(folder: Path = ROOT, **environ: str) -> LocalMode:
            command = (sys.executable, "-m", "relaykit", "dev", NAME)
            modes.append(LocalMode(data_dir, command, folder, APP_DIR=str(site.folder), **environ))
            return modes[-1]

        yield start
        for mode in modes:
            mode.kill()


def reloads(mode: LocalMode) -> int:
    return mode.said.count("\nReloaded.\n")


async def save(mode: LocalMode, site: Site, word: str) -> None:
    """Saves the file, and waits until what was saved runs."""
    before = reloads(mode)
    site.save(word)
    await said(f"{word} is loaded", lambda: reloads(mode) > before)


async def said(what: str, condition: Callable[[], object]) -> None:
    """Waits while the clients of the test go on."""
    await asyncio.to_thread(wait_until, what, condition)


async def ask(caller: Caller, text: str) -> Answer:
    return await caller.stream(create(text))


async def half_answered(caller: Caller) -> tuple[RetryingClient, asyncio.Task[None]]:
    """A client whose answer stands half way."""
    client = RetryingClient([caller], create("count"), key="counting")
    following = asyncio.create_task(client.follow())
    while b'20 "' not in client.read + client.incoming:
        assert not following.done(), client.refused
        await asyncio.sleep(0.01)
    return client, following


def answer_of(client: RetryingClient) -> str:
    """The one answer that the client shows after all that it was sent."""
    items = shown(Answer(200, httpx2.Headers(), client.read)).values()
    (answer,) = [item for item in items if item["type"] == "assistant_message"]
    return "".join(texts(answer))


async def test_what_is_saved_answers_and_an_answer_goes_on_across_it(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """The client of the answer that was under way comes back, and has it whole: from the next attempt."""
    mode = dev()
    caller = await signed_in(mode.ready())
    assert (await ask(caller, "hi")).text == "first none "
    client, following = await half_answered(caller)
    await save(mode, site, "second")
    assert (await ask(caller, "hi")).text == "second none "
    site.open_gate()
    await following
    assert client.refused == []
    assert answer_of(client) == COUNTED


@pytest.mark.long
async def test_ten_reloads_in_one_answer_of_thirty_seconds_leave_it_whole_and_nothing_comes_twice(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """Each attempt has shown something when its worker is replaced. The last one has its thirty seconds."""
    mode = dev()
    caller = await signed_in(mode.ready())
    client = RetryingClient([caller], create("slowly"), key="slowly")
    following = asyncio.create_task(client.follow())
    for number in range(10):
        await until_shown(client, following, attempt=number + 1)
        await save(mode, site, f"word{number}")
    await following
    assert client.refused == []
    assert answer_of(client) == COUNTED
    ids = [tuple(map(int, cursor.split("-"))) for cursor in cursors(client.read)]
    assert ids == sorted(set(ids)), "each event came once, in order"
    assert ids[-1][0] == 11
    items = await caller.items(Answer(200, httpx2.Headers(), client.read).thread_id)
    assert [item["type"] for item in items].count("assistant_message") == 1
    assert (await ask(caller, "hi")).text == "word9 none "


async def until_shown(client: RetryingClient, following: asyncio.Task[None], *, attempt: int) -> None:
    """Waits until the client has text of the attempt."""
    while not re.search(rb"id: %d-\d+\ndata: [^\n]*text_delta" % attempt, client.read + client.incoming):
        assert not following.done(), client.refused
        await asyncio.sleep(0.01)


async def test_a_file_that_does_not_load_leaves_the_old_code_running(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """The terminal names the file and the line; the next file that loads is loaded."""
    mode = dev()
    caller = await signed_in(mode.ready())
    site.save("second", more="\nPRICES = {}['apple']\n")
    line = len(site.file.read_text().splitlines())
    await said(
        "the failure is said", lambda: "Not reloaded, the code that was loaded before goes on" in mode.said
    )
    assert f"KeyError at {site.file}:{line} in <module>" in mode.said
    assert (await ask(caller, "hi")).text == "first none "
    await save(mode, site, "third")
    assert (await ask(caller, "hi")).text == "third none "


async def test_an_answer_survives_the_death_of_its_worker(dev: Callable[..., LocalMode], site: Site) -> None:
    mode = dev(LEASE_SECONDS="3")
    caller = await signed_in(mode.ready())
    client, following = await half_answered(caller)
    (worker,) = called(descendants(mode.process.pid), "relaykit-worker")
    kill_all([worker])
    await said("its end is said", lambda: "worker 0 was ended by SIGKILL; it is started again." in mode.said)
    site.open_gate()
    await following
    assert answer_of(client) == COUNTED


async def test_the_terminal_has_the_lines_of_each_process_and_what_respond_raises(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """With its text and traceback, which the chat's page shows as well: all of it is this person's own."""
    mode = dev()
    caller = await signed_in(mode.ready())
    answer = await ask(caller, "fail")
    assert answer.events[-1]["message"] == "LookupError: the database has no such column"
    await said("the traceback is there", lambda: "worker 0 | LookupError: the database has" in mode.said)
    assert "worker 0 | asked for 'fail' in site\n" in mode.said
    assert f'worker 0 |   File "{site.file}", line ' in mode.said
    assert "api 0    | " in mode.said
    assert "asked for 'fail'" in (mode.data_dir / "logs" / "worker-0.log").read_text()


async def test_the_sites_env_file_is_read_and_read_again(dev: Callable[..., LocalMode], site: Site) -> None:
    (site.folder / ".env").write_text('GREETING="hello there"\n')
    mode = dev()
    caller = await signed_in(mode.ready())
    assert (await ask(caller, "hi")).text == "first hello there "
    (site.folder / ".env").write_text("GREETING=moin\n")
    await said("it is loaded", lambda: reloads(mode))
    assert (await ask(caller, "hi")).text == "first moin "


async def test_a_worker_of_ones_own_takes_its_settings_from_the_file_that_is_left_for_it(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """As a debugger wants it: WORKERS=0, and `relaykit worker` in a terminal beside."""
    mode = dev(WORKERS="0")
    caller = await signed_in(mode.ready())
    file = mode.data_dir / "env"
    assert file.stat().st_mode & 0o777 == 0o600
    shell = f"set -a; . {file}; set +a; exec {sys.executable} -m relaykit worker"
    worker = subprocess.Popen(["/bin/sh", "-c", shell], env={}, stderr=subprocess.DEVNULL)
    try:
        assert (await ask(caller, "hi")).text == "first none "
    finally:
        worker.terminate()
        assert worker.wait(60) == 0


async def test_an_env_file_that_cannot_be_read_leaves_the_old_code_running(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    mode = dev()
    caller = await signed_in(mode.ready())
    (site.folder / ".env").write_bytes(b"GREETING=caf\xe9\n")
    await said("the failure is said", lambda: "Not reloaded, what was loaded before goes on: " in mode.said)
    assert f"{site.folder / '.env'} cannot be read (UnicodeDecodeError)." in mode.said
    assert (await ask(caller, "hi")).text == "first none "


async def test_a_file_that_breaks_what_is_imported_before_it_is_told_where_that_is_imported_anew(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """Such as one with the name of a module of Python's, in the folder that the command was called in."""
    mode = dev(folder=site.folder, PYTHONPATH=str(ROOT))
    caller = await signed_in(mode.ready())
    (site.folder / "secrets.py").write_text("raise RuntimeError('not the one that was meant')\n")
    await said("what was imported before stays", lambda: reloads(mode))
    (site.folder / ".env").write_text("GREETING=moin\n")
    await said(
        "it is not loaded", lambda: "Not reloaded, the code that was loaded before goes on" in mode.said
    )
    assert "RuntimeError: not the one that was meant" in mode.said
    assert (await ask(caller, "hi")).text == "first none "
    (site.folder / "secrets.py").unlink()
    await said("it is loaded", lambda: reloads(mode) == 2)
    assert (await ask(caller, "hi")).text == "first moin "


async def test_a_file_saved_twice_within_a_second_is_loaded_twice(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """Python takes one of the same size and second for unchanged, and loads what it compiled of the one before."""
    mode = dev()
    caller = await signed_in(mode.ready())
    await save(mode, site, "third")
    before = site.file.stat()
    fresh = site.file.with_suffix(".tmp")
    fresh.write_text(site.file.read_text().replace('"third"', '"other"'))
    os.utime(fresh, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fresh.stat().st_size == before.st_size
    fresh.replace(site.file)
    await said("it is loaded", lambda: reloads(mode) == 2)
    assert (await ask(caller, "hi")).text == "other none "


async def test_what_is_left_in_the_data_folder_is_no_gits_business(dev: Callable[..., LocalMode]) -> None:
    """It has secrets; the settings that a worker of one's own needs are gone with the processes."""
    mode = dev()
    mode.ready()
    assert (mode.data_dir / ".gitignore").read_text() == "*\n"
    assert (mode.data_dir / "env").exists()
    mode.stop(signal.SIGTERM)
    assert not (mode.data_dir / "env").exists()


WEB = """
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from relaykit import RequestContext, current_user

@asynccontextmanager
async def lifespan(process):
    FAILURE
    app.state.opened = "WORD"
    yield

app = FastAPI(openapi_url=None)

@app.get("/opened")
async def opened(user: RequestContext = Depends(current_user)):
    return [user.user_id, app.state.opened]
"""


async def test_the_sites_lifespan_and_routes_are_loaded_anew_and_one_that_fails_leaves_the_old_ones(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    web = site.file.parent / "web.py"
    web.write_text(WEB.replace("FAILURE", "pass").replace("WORD", "first"))
    mode = dev(CHATKIT_LIFESPAN="shop.web:lifespan", CHATKIT_APP="shop.web:app")
    caller = await signed_in(mode.ready())
    who, word = (await caller.get("/opened")).json()
    assert word == "first"
    before = reloads(mode)
    web.write_text(WEB.replace("FAILURE", "pass").replace("WORD", "second"))
    await said("the second is loaded", lambda: reloads(mode) > before)
    assert (await caller.get("/opened")).json() == [who, "second"]
    web.write_text(WEB.replace("FAILURE", "{}['apple']"))
    await said(
        "the failure is said", lambda: "Not reloaded, the code that was loaded before goes on" in mode.said
    )
    line = WEB[: WEB.index("FAILURE")].count("\n") + 1
    assert f"CHATKIT_LIFESPAN=shop.web:lifespan: KeyError at {web}:{line} in lifespan" in mode.said
    assert (await caller.get("/opened")).json() == [who, "second"]


SOCKETS = """
from fastapi import FastAPI, WebSocket

app = FastAPI(openapi_url=None)

@app.websocket("/words")
async def words(socket: WebSocket):
    await socket.accept()
    await socket.send_text("WORD")
    while True:
        await socket.receive_text()
"""


async def test_a_websocket_is_closed_by_a_reload_and_holds_none_up(
    dev: Callable[..., LocalMode], site: Site
) -> None:
    """As one that comes again finds: the new code."""
    web = site.file.parent / "web.py"
    web.write_text(SOCKETS.replace("WORD", "first"))
    mode = dev(CHATKIT_APP="shop.web:app")
    url = f"ws{mode.ready().removeprefix('http').rstrip('/')}/words"
    async with connect(url, proxy=None) as socket:
        assert await socket.recv() == "first"
        before = reloads(mode)
        web.write_text(SOCKETS.replace("WORD", "second"))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        await said("the second is loaded", lambda: reloads(mode) > before)
    async with connect(url, proxy=None) as socket:
        assert await socket.recv() == "second"
