"""One command starts everything, says so in one line, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.processes.local_mode import (
    LocalMode,
    assert_nothing_runs_in,
    called,
    descendants,
    kill_all,
    named,
    signed_in,
    temporary_data_dir,
    wait_until,
)
from tests.support.system import Answer, Caller, create, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

GONE_SECONDS = 120.0


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with temporary_data_dir() as folder:
        yield folder


@pytest.fixture
def start(data_dir: Path) -> Iterator[Callable[..., LocalMode]]:
    """Starts local mode; whatever the test did not end is killed, and its children with it."""
    started: list[LocalMode] = []

    def one(**environ: str) -> LocalMode:
        started.append(LocalMode(data_dir, **environ))
        return started[-1]

    yield one
    for mode in started:
        mode.kill()


async def test_answers_and_keeps_its_data(start: Callable[..., LocalMode], data_dir: Path) -> None:
    """The page, a token and a whole answer through queue and worker; after Ctrl-C and a second start all is there.

    Meanwhile another start on the same folder is refused, and no secret is readable by others.
    """
    first = start()
    address = first.ready()
    assert (await httpx2.AsyncClient().get(f"{address}/")).headers["content-type"].startswith("text/html")
    assert httpx2.get(f"{address}/healthz").status_code == 200
    caller = await signed_in(address)
    answer = await caller.stream(create("Hello"))
    assert answer.end == "completed", answer.raw
    assert answer.text
    keys = httpx2.get(f"{address}/dev/jwks.json").json()
    refused = start()
    assert refused.ended() == 1
    assert (
        refused.complained
        == f"Relaykit: Relaykit runs already on {data_dir} (process {first.process.pid}).\n"
    )
    assert_secrets_are_kept(first, data_dir)
    first.stop(signal.SIGINT)

    second = start()
    address = second.ready()
    caller = await signed_in(address)
    assert await caller.items(answer.thread_id)
    replayed = await caller.resume(answer.run_id, None)
    assert replayed.frames == answer.frames, "the journal did not survive the restart"
    assert httpx2.get(f"{address}/dev/jwks.json").json() == keys
    second.stop(signal.SIGTERM)


SECRETS = ["attachments.key", "issuer.pem", "postgres.password", "redis.password"]


def assert_secrets_are_kept(mode: LocalMode, data_dir: Path) -> None:
    assert {(data_dir / name).stat().st_mode & 0o777 for name in SECRETS} == {0o600}
    assert not [
        child
        for child in descendants(mode.process.pid)
        for word in passwords(data_dir)
        if named([child], word)
    ]
    assert_logs_have_no_password(data_dir)


def assert_logs_have_no_password(data_dir: Path) -> None:
    for log in (data_dir / "logs").iterdir():
        assert not any(word[:20] in log.read_text() for word in passwords(data_dir)), (
            f"a password is in {log.name}"
        )


def passwords(data_dir: Path) -> list[str]:
    return [(data_dir / name).read_text() for name in SECRETS if name.endswith(("password", "key"))]


async def test_killed_supervisor_leaves_nothing(start: Callable[..., LocalMode], data_dir: Path) -> None:
    """kill -9 of the supervisor ends all it started, and the next start on the same data works at once."""
    first = start()
    first.ready()
    family = descendants(first.process.pid)
    assert len(family) >= 4, "Redis, PostgreSQL, API, worker"
    first.process.kill()
    wait_until("all are gone", lambda: not any(child.alive() for child in family), GONE_SECONDS)

    second = start()
    second.ready()
    second.stop(signal.SIGTERM)


@pytest.mark.long
async def test_start_after_everything_was_killed(start: Callable[..., LocalMode], data_dir: Path) -> None:
    """A crash of the machine leaves pid files; they stop no later start."""
    first = start()
    first.ready()
    family = descendants(first.process.pid)
    first.process.send_signal(signal.SIGSTOP)  # so that it cannot stop anything in order
    kill_all(family)
    first.process.kill()
    wait_until("all are gone", lambda: not any(child.alive() for child in family), GONE_SECONDS)
    assert (data_dir / "postgres" / "postmaster.pid").exists()
    # the pid in it belongs to a living process of somebody else by now
    (data_dir / "postgres" / "postmaster.pid").write_text("1\n")

    second = start()
    second.ready()
    second.stop(signal.SIGTERM)


@pytest.mark.long
@pytest.mark.parametrize(
    ("victim", "name"),
    [
        ("relaykit.worker", "worker 0"),
        ("relaykit.api", "api 0"),
        ("-server 127.0.0.1:", "Redis"),
        ("bin/postgres", "PostgreSQL"),
    ],
)
async def test_what_dies_is_started_again(
    start: Callable[..., LocalMode], data_dir: Path, victim: str, name: str
) -> None:
    """When one process ends on its own, local mode says which and starts it again; the data is there, and answers come.

    What the API and the workers meanwhile log of their lost services has no password in it.
    """
    mode = start()
    caller = await signed_in(mode.ready())
    before = await caller.stream(create("Hello"))
    kill_all(named(descendants(mode.process.pid), victim)[:1])
    wait_until("the end is said", lambda: f"{name} was ended by SIGKILL; it is started again." in mode.said)
    after = await answered(caller)
    assert after.end == "completed", after.raw
    assert await caller.items(before.thread_id)
    mode.stop(signal.SIGTERM)
    assert_logs_have_no_password(data_dir)


async def answered(caller: Caller) -> Answer:
    """A whole answer, as soon as there is one."""
    while True:
        try:
            return await caller.stream(create("Hello"))
        except (httpx2.HTTPError, AssertionError):  # the API, or what it needs, is not back yet
            await asyncio.sleep(0.1)


@pytest.mark.long
async def test_several_processes_on_given_services(
    start: Callable[..., LocalMode], redis_url: str, database_url: str, data_dir: Path
) -> None:
    """API_PROCESSES listen on PORT and up, each worker is a process, and services that are given are used."""
    port = free_port(following=1)
    given = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
    mode = start(PORT=str(port), API_PROCESSES="2", WORKERS="2", **given)
    assert mode.ready() == f"http://127.0.0.1:{port}"
    family = descendants(mode.process.pid)
    for name in ("relaykit-api", "relaykit-worker", "relaykit-forks"):
        assert len(called(family, name)) == 2, name
    assert len(called(family, "relaykit-parent")) == 4, "one for each of them"
    assert not named(family, "redis-server")
    assert not named(family, "postgres")
    for number in (port, port + 1):
        assert httpx2.get(f"http://127.0.0.1:{number}/readyz").status_code == 200
    mode.stop(signal.SIGTERM)


async def test_taken_port_is_named(start: Callable[..., LocalMode], data_dir: Path) -> None:
    """Nothing is started, and the one line says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mode = start(PORT=str(port))
        assert mode.ended() == 1
    assert mode.complained == f"Relaykit: Port {port} of 127.0.0.1 is taken; set PORT to another.\n"
    assert not (data_dir / "postgres").exists()
    assert_nothing_runs_in(data_dir)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"PORT": "http"}, "PORT: must be a whole number from 0 to 65535."),
        ({"API_PROCESSES": "0"}, "API_PROCESSES: must be a whole number from 1 to 64."),
        ({"WORKERS": "-1"}, "WORKERS: must be a whole number from 0 to 64."),
        ({"HOST": "0.0.0.0"}, "HOST: local mode listens on loopback only; use 127.0.0.1, ::1 or localhost."),
        ({"DATA_DIR": "/dev/null/x"}, "DATA_DIR /dev/null/x cannot be used: Not a directory"),
        ({"APP_DIR": "/dev/null/x"}, "APP_DIR: there is no folder /dev/null/x."),
        ({"DRAIN_SECONDS": "soon"}, "DRAIN_SECONDS: must be a number of seconds."),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS: must be a number"),
        ({"DATABASE_URL": "mysql://h/d"}, "DATABASE_URL: must start with postgresql://"),
    ],
)
async def test_bad_setting_is_one_line(
    start: Callable[..., LocalMode], environ: dict[str, str], line: str
) -> None:
    mode = start(**environ)
    assert mode.ended() == 2
    assert mode.complained == f"Relaykit: {line}\n"
    assert not mode.said


async def test_unreachable_database_is_one_line(start: Callable[..., LocalMode], data_dir: Path) -> None:
    mode = start(DATABASE_URL="postgresql://nobody:secret-password@127.0.0.1:1/none")
    assert mode.ended() == 1
    assert mode.complained.startswith("Relaykit: DATABASE_URL: cannot connect")
    assert mode.complained.count("\n") == 1
    assert "secret-password" not in mode.complained
    assert_nothing_runs_in(data_dir)


async def test_unreachable_redis_is_one_line(start: Callable[..., LocalMode], database_url: str) -> None:
    mode = start(DATABASE_URL=database_url, REDIS_URL="redis://:secret-password@127.0.0.1:1/0")
    assert mode.ended() == 1
    assert mode.complained == "Relaykit: REDIS_URL: Redis cannot be reached (ConnectionError ECONNREFUSED)\n"


async def test_server_that_does_not_load(
    start: Callable[..., LocalMode], redis_url: str, database_url: str, data_dir: Path
) -> None:
    """The process's own line comes through."""
    given = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
    mode = start(CHATKIT_SERVER="nowhere:Server", **given)
    assert mode.ended() == 2
    # either process may be the first that ends, and then the other is stopped
    assert re.search("relaykit (api|worker): server_not_loadable: CHATKIT_SERVER=nowhere:Server", mode.said)
    assert mode.complained.count("\n") == 1
    assert "ended with code 2 before it was ready" in mode.complained
    assert "is ready:" not in mode.said
    assert_nothing_runs_in(data_dir)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["lock", "postgres.new", "postgres/postmaster.pid", "logs/api-0.log"])
async def test_stop_while_starting(start: Callable[..., LocalMode], data_dir: Path, moment: str) -> None:
    """Asked to stop before it is ready, it stops as cleanly."""
    mode = start()
    wait_until(f"{moment} is there", (data_dir / moment).exists)
    mode.stop(signal.SIGTERM)
    assert "is ready:" not in mode.said
