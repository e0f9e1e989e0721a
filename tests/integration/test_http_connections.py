"""How many connections one API process takes, which it gives up for a newcomer, and what shows when descriptors end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import pytest_asyncio

from relaykit.api.http.connections import MAX_REFUSED
from relaykit.api.http.descriptors import raise_descriptor_limit
from relaykit.shared.settings import Settings
from tests.support.clients.http_bytes import RawConnection, ask, connected
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    ROOT,
    START_SECONDS,
    Caller,
    Process,
    Processes,
    environment,
    free_port,
    make_settings,
    running_processes,
    wait_until,
)

LIMIT = 12
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEPT = HEALTH.replace(b"Connection: close\r\n", b"")
DESCRIPTORS = 120
BACKLOG = 2048
"""uvicorn's: connections that the kernel holds until they are accepted."""

in_module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Processes]:
    """An API of few connections; its waits last longer than the tests."""
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        waits = {"head_seconds": 120, "stall_seconds": 120}
        settings = make_settings(
            redis_url, database_url, issuer_key_file, free_port(), max_connections=LIMIT, **waits
        )
        async with running_processes(settings, tmp_path_factory.mktemp("logs"), workers=0) as system:
            yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(small: Processes) -> Caller:
    """The API has fetched the keys of its own issuer by now, and needs no connection to itself for that."""
    alice = await small.caller()
    assert (await alice.get("/runs/none")).status_code == 404
    return alice


async def waiting_bodies(stack: AsyncExitStack, url: str, caller: Caller, count: int) -> list[RawConnection]:
    """Connections that a newcomer cannot replace, since their requests are being read."""
    head = f"POST /chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller.token}\r\n"
    data = f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode()
    connections = [await stack.enter_async_context(connected(url, data)) for _ in range(count)]
    for connection in connections:  # the route reads the body now
        assert await connection.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connections


def start_limited(settings: Settings, tmp_path: Path, *limits: str) -> Process:
    """An API under the limits, which are those of the shell's `ulimit`."""
    log = tmp_path / "api.log"
    commands = "".join(f"ulimit {limit}; " for limit in limits)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            ["/bin/sh", "-c", f'{commands}exec "$0" -m relaykit.api', sys.executable],
            cwd=ROOT,
            env=environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Process(popen, log)


@asynccontextmanager
async def limited(settings: Settings, tmp_path: Path, *limits: str) -> AsyncIterator[tuple[Process, str]]:
    """Such an API once it answers, and its address."""
    process = start_limited(settings, tmp_path, *limits)
    url = f"http://127.0.0.1:{settings.port}"
    try:
        async with httpx2.AsyncClient(base_url=url) as client:

            async def ready() -> bool:
                assert process.popen.poll() is None, process.output
                with suppress(httpx2.TransportError):
                    return (await client.get("/readyz")).status_code == 200
                return False

            await wait_until("the API is ready", ready, START_SECONDS)
        yield process, url
    finally:
        process.kill()


async def metric(client: httpx2.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    return next((float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(name)), 0.0)


@in_module
async def test_a_full_process_refuses_and_says_when_to_come_again(small: Processes, alice: Caller) -> None:
    url = small.urls[0]
    async with AsyncExitStack() as stack:
        held = await waiting_bodies(stack, url, alice, LIMIT)
        for _ in range(3):
            answer, rest = await ask(url, KEPT)
            assert (answer.status, answer.code, rest) == (503, "too_many_connections", b"")
            assert int(answer.headers["retry-after"]) >= 1
        assert "connections_full" in small.api_processes[0].output
        held[0].writer.transport.abort()

        async def answered() -> bool:
            return (await ask(url, HEALTH))[0].status == 200

        await wait_until("there is room again", answered)
        refused = 'relaykit_requests_refused_total{code="too_many_connections"}'
        assert await metric(alice.client, refused) >= 3
        assert await metric(alice.client, "relaykit_connections ") == LIMIT


@in_module
async def test_a_full_process_refuses_any_number_without_holding_them(
    small: Processes, alice: Caller
) -> None:
    """Those who are refused and do not close take no descriptors beyond the few that are reserved for them."""
    async with AsyncExitStack() as stack:
        await waiting_bodies(stack, small.urls[0], alice, LIMIT)
        directory = Path(f"/proc/{small.api_processes[0].popen.pid}/fd")
        before = len(os.listdir(directory))
        refused = [await stack.enter_async_context(connected(small.urls[0])) for _ in range(100)]
        assert (await refused[-1].answer()).status == 503
        # and one for whatever else the process opens meanwhile
        assert len(os.listdir(directory)) - before < 2 * MAX_REFUSED


@in_module
@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", KEPT], ids=["silent", "half a head", "answered"])
async def test_a_newcomer_gets_the_place_of_the_oldest_that_asks_for_nothing(
    small: Processes, alice: Caller, said: bytes
) -> None:
    url = small.urls[0]
    evicted = 'relaykit_connections_dropped_total{reason="evicted"}'
    before = await metric(alice.client, evicted)
    async with AsyncExitStack() as stack:
        held = []
        for _ in range(LIMIT + 3):
            held.append(await stack.enter_async_context(connected(url, said)))
            if said == KEPT:
                assert (await held[-1].answer()).status == 200
            assert (await ask(url, HEALTH))[0].status == 200
        assert await held[0].rest() == b""
        assert await metric(alice.client, evicted) >= before + 4
        await held[-1].send(HEALTH if said == KEPT else HEALTH.removeprefix(said))
        assert (await held[-1].answer()).status == 200


async def test_few_descriptors_are_raised_and_suffice_beside_more_connections_than_they_allow(
    settings: Settings, tmp_path: Path
) -> None:
    """Silent ones, which HEAD_SECONDS does not end here; the soft limit becomes what the operator allows."""
    slow = settings.model_copy(update={"head_seconds": 120})
    async with (
        limited(slow, tmp_path, "-Sn 60", f"-Hn {DESCRIPTORS}") as (process, url),
        AsyncExitStack() as stack,
    ):
        limits = Path(f"/proc/{process.popen.pid}/limits").read_text().splitlines()
        (open_files,) = (line.split() for line in limits if line.startswith("Max open files"))
        assert open_files[3:5] == [str(DESCRIPTORS)] * 2
        for _ in range(DESCRIPTORS + 40):
            await stack.enter_async_context(connected(url))
        for _ in range(5):
            assert (await ask(url, HEALTH))[0].status == 200
        assert "connections_full" in process.output
        assert "descriptors_exhausted" not in process.output


async def test_each_of_the_clients_that_a_process_of_few_descriptors_closes_is_counted(
    settings: Settings, tmp_path: Path
) -> None:
    """96 descriptors and 150 clients that say nothing; the log says it once."""
    slow = settings.model_copy(update={"head_seconds": 120})
    async with limited(slow, tmp_path, "-n 96") as (process, url), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(url)) for _ in range(150)]
        (limit,) = re.findall(r'"connections_full".*"connections": (\d+)', process.output) or [0]
        closed = clients[: 150 - int(limit)]
        assert len(closed) > 100
        for client in closed:
            assert await client.rest() == b""
        async with httpx2.AsyncClient(base_url=url) as client:
            evicted = await metric(client, 'relaykit_connections_dropped_total{reason="evicted"}')
        assert evicted == len(closed) + 1  # the one that asks here took a place too


async def test_connections_that_the_kernel_drops_are_in_the_log_and_in_the_metrics(
    settings: Settings, tmp_path: Path
) -> None:
    """The process stands still, and more clients come than the kernel holds for it."""
    raise_descriptor_limit()  # of this process, which is all of them
    async with limited(settings, tmp_path, "-n 4096") as (process, url), AsyncExitStack() as stack:
        process.popen.send_signal(signal.SIGSTOP)
        address = urlsplit(url)
        for _ in range(BACKLOG + 200):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address.hostname, address.port))
        process.popen.send_signal(signal.SIGCONT)
        await wait_until("the log says so", lambda: "accept_queue_full" in process.output)
        async with httpx2.AsyncClient(base_url=url) as client:
            assert await metric(client, "relaykit_accept_queue_drops_total ") >= 150


async def test_the_end_of_the_descriptors_is_in_the_log_and_in_the_metrics(
    settings: Settings, tmp_path: Path
) -> None:
    """They are taken by the user's own server here, which the limit of connections does not know of."""
    module = tmp_path / "greedy.py"
    module.write_text(
        "import os\n"
        "from tests.support.servers.relay_servers import ScriptedAnswers\n"
        "held = []\n"
        "class Greedy(ScriptedAnswers):\n"
        "    def __init__(self, store=None):\n"
        "        super().__init__(store)\n"
        f"        held.extend(os.open('/dev/null', os.O_RDONLY) for _ in range({DESCRIPTORS - 50}))\n"
    )
    greedy = settings.model_copy(
        update={"chatkit_server": "greedy:Greedy", "app_dir": tmp_path, "head_seconds": 3}
    )
    async with (
        limited(greedy, tmp_path, f"-n {DESCRIPTORS}") as (process, url),
        httpx2.AsyncClient(base_url=url) as client,
        AsyncExitStack() as stack,
    ):
        assert (await client.get("/healthz")).status_code == 200
        for _ in range(60):
            await stack.enter_async_context(connected(url))
        await wait_until("the log says so", lambda: "descriptors_exhausted" in process.output)
        await wait_until("they are free again", lambda: "descriptors_free" in process.output)
        assert process.output.count('"descriptors_exhausted"') == 1

        async def counted() -> bool:
            return await metric(client, "relaykit_descriptors_exhausted_total") >= 1

        await wait_until("a new client reads the metric", counted)
