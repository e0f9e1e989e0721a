"""Clients that stop reading: what they hold of a process ends with STALL_SECONDS, and counts for as long as it lasts.

Readers that are slow, or whose tokens end, are in test_slow_gone_expired.py too.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import pytest_asyncio

from bench.systems.usage import resident_bytes
from relaykit.shared.settings import Settings
from tests.integration.test_http_connections import metric
from tests.support.clients.http_bytes import RawConnection
from tests.support.servers.relay_servers import Script
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    Caller,
    Processes,
    create,
    free_port,
    make_settings,
    running_processes,
    wait_until,
)

in_module = pytest.mark.asyncio(loop_scope="module")

STREAMS = 5
STALL_SECONDS = 2.0
MEGABYTE = 1024 * 1024
ROUNDS = 4
BYTES_PER_SECOND = 400_000
STALLED = 'relaykit_connections_dropped_total{reason="stalled"}'


@pytest.fixture(scope="module")
def stage_settings(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("attachments")
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
            stall_seconds=STALL_SECONDS,
            caller_max_streams=STREAMS,
            jwt_leeway_seconds=0,
            token_grace_seconds=0.5,
            ping_seconds=0.5,
            drain_seconds=5,
            attachments_url=f"file://{folder}",
            attachments_key="k" * 43,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    stage_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Processes]:
    async with running_processes(stage_settings, tmp_path_factory.mktemp("logs")) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(system: Processes) -> Caller:
    return await system.caller()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run_id(alice: Caller) -> str:
    """A run of 6 MB that has ended."""
    answer = await alice.stream(create(str(Script(deltas=600, pad=10_000))))
    assert answer.end == "completed"
    return answer.run_id


class Process:
    """What one API process has of the clients of this module."""

    def __init__(self, pid: int, url: str, client: httpx2.AsyncClient) -> None:
        self.pid, self.url = pid, url
        self._client = client
        self._ports: set[int] = set()

    @asynccontextmanager
    async def frozen(self, data: bytes) -> AsyncIterator[RawConnection]:
        """A client that sends, and reads no more than it is asked to; the kernel takes a few KB for it."""
        address = urlsplit(self.url)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (address.hostname, address.port))
        self._ports.add(client.getsockname()[1])
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        writer.write(data)
        try:
            yield RawConnection(reader, writer)
        finally:
            writer.transport.abort()

    def connections(self) -> int:
        """How many of theirs it has a descriptor of."""
        descriptors = set()
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                descriptors.add(os.readlink(entry))
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(
            int(fields[2].rpartition(":")[2], 16) in self._ports and f"socket:[{fields[9]}]" in descriptors
            for fields in lines
        )

    async def has(self, connections: int) -> None:
        await wait_until(f"{connections} connections are open", lambda: self.connections() == connections)

    async def count(self, name: str) -> float:
        return await metric(self._client, name)


@pytest_asyncio.fixture(loop_scope="module")
async def api(system: Processes, alice: Caller) -> AsyncIterator[Process]:
    process = Process(system.api_processes[0].popen.pid, system.urls[0], alice.client)
    yield process
    await process.has(0)
    assert await process.count("relaykit_streams ") == 0


def asks(path: str, caller: Caller, body: bytes = b"", **headers: str) -> bytes:
    """A request on a connection that could be kept."""
    lines = {"Host": "a", "Authorization": f"Bearer {caller.token}", "Relaykit-Resume": "1", **headers}
    method = "GET"
    if body:
        method, lines["Content-Length"] = "POST", str(len(body))
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body


async def status(connection: RawConnection) -> int:
    return int((await connection.reader.readline()).split(b" ")[1])


@in_module
async def test_readers_that_stop_never_have_more_connections_than_streams(
    api: Process, alice: Caller, run_id: str
) -> None:
    """Five of a limit of five, again and again: a sixth is 429 for as long as their connections are open."""
    before, memory = await api.count(STALLED), resident_bytes(api.pid)
    asked = asks(f"/runs/{run_id}/events", alice, Connection="close")
    async with AsyncExitStack() as stack:
        for number in range(1, ROUNDS + 1):
            held = [await stack.enter_async_context(api.frozen(asked)) for _ in range(STREAMS)]
            assert [await status(each) for each in held] == [200] * STREAMS
            assert await api.count("relaykit_streams ") == api.connections() == STREAMS
            async with api.frozen(asked) as refused:
                assert await status(refused) == 429

            async def is_let_in() -> bool:
                async with api.frozen(asked) as next_one:
                    return await status(next_one) == 200

            await wait_until("another one is let in", is_let_in)
            assert api.connections() <= STREAMS, "a place is free whose connection is open"
            await api.has(0)
            assert await api.count(STALLED) == before + number * STREAMS
    grown = resident_bytes(api.pid) - memory
    assert grown < 40 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"


@in_module
async def test_the_token_of_a_reader_that_has_stopped_ends_and_its_connection_with_it(
    api: Process, alice: Caller, run_id: str
) -> None:
    """Its place is held until then."""
    before = await api.count(STALLED)
    async with AsyncExitStack() as stack:

        async def is_held() -> bool:
            """A busy machine may take longer than the token lasts from its issue to its use."""
            mine = await alice.client.post("/dev/token", json={"sub": "alice", "ttl_seconds": 1})
            ending = Caller(alice.client, mine.json()["access_token"])
            asked = asks(f"/runs/{run_id}/events", ending, Connection="close")
            return await status(await stack.enter_async_context(api.frozen(asked))) == 200

        await wait_until("a token is used in time", is_held)
        await asyncio.sleep(1.2)
        assert await api.count("relaykit_streams ") == api.connections() == 1
        await api.has(0)
    assert await api.count(STALLED) == before + 1


async def page_request(alice: Caller) -> bytes:
    """For a page of 200 KB."""
    answer = await alice.stream(create("x" * 200_000))
    params = {"thread_id": answer.thread_id, "limit": 100}
    return json.dumps({"type": "items.list", "params": params}).encode()


async def a_page(alice: Caller) -> bytes:
    return asks("/chatkit", alice, await page_request(alice)) * 4


async def a_last_page(alice: Caller) -> bytes:
    return asks("/chatkit", alice, await page_request(alice), Connection="close")


async def an_attachment(alice: Caller) -> bytes:
    content = b"x" * 4 * MEGABYTE
    params = {"name": "a.png", "size": len(content), "mime_type": "image/png"}
    created = await alice.ask({"type": "attachments.create", "params": params})
    sent = await alice.client.put(created["upload_descriptor"]["url"], content=content)
    assert sent.status_code == 204
    preview = urlsplit(created["preview_url"])
    return asks(f"{preview.path}?{preview.query}", alice)


async def an_answer_before_its_body(alice: Caller) -> bytes:
    head = "POST /chatkit HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    return head.encode() + b"x" * 1000


KINDS = [a_page, a_last_page, an_attachment, an_answer_before_its_body]


@in_module
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_a_client_does_not_take_its_connection_ends(
    api: Process, alice: Caller, kind: Callable[[Caller], Awaitable[bytes]]
) -> None:
    """Its descriptor is free again, though the client's side never closes."""
    data = await kind(alice)
    before = await api.count(STALLED)
    async with api.frozen(data) as held:
        await status(held)
        assert api.connections() == 1
        await api.has(0)
    if kind is not an_answer_before_its_body:  # which it may not read, but the kernel holds
        assert await api.count(STALLED) == before + 1


@in_module
async def test_a_slow_and_steady_reader_of_an_event_of_megabytes_gets_all_of_it(
    api: Process, alice: Caller
) -> None:
    """It takes several times STALL_SECONDS for each of the two."""
    script = Script(deltas=1, pad=4 * MEGABYTE)
    whole = await alice.stream(create(str(script)))
    before = await api.count(STALLED)
    asked = asks(f"/runs/{whole.run_id}/events", alice, Connection="close")
    raw = bytearray()
    async with api.frozen(asked) as reader:
        while part := await reader.reader.read(20_000):
            raw += part
            await asyncio.sleep(len(part) / BYTES_PER_SECOND)
    assert b": end completed" in raw[-50:], f"it was cut after {len(raw)} bytes"
    assert raw.count(b"." * 1000) >= len(whole.raw) // 1100
    assert await api.count(STALLED) == before


@in_module
async def test_clients_that_stop_reading_do_not_keep_a_process_from_ending(
    stage_settings: Settings, system: Processes, alice: Caller, run_id: str
) -> None:
    """Within DRAIN_SECONDS, though STALL_SECONDS is longer: of streams, and of a connection that closes."""
    process = await system.start_api(STALL_SECONDS="600")
    other = Process(process.popen.pid, system.urls[-1], alice.client)
    asked = asks(f"/runs/{run_id}/events", alice)
    async with AsyncExitStack() as stack:
        for data in (asked, asked, await a_last_page(alice)):
            assert await status(await stack.enter_async_context(other.frozen(data))) == 200
        await other.has(3)
        process.terminate(stage_settings.drain_seconds + 10)
    assert "api stopped" in process.output
