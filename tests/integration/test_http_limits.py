"""What one client can make the API hold or wait for: bytes over real sockets to a real process, mostly without a token.

Descriptors and the number of connections are in test_http_connections.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from bench.systems.usage import resident_bytes
from relaykit.shared.settings import Settings
from tests.support.clients.http_bytes import Head, ask, connected
from tests.support.repository.error_catalogue import documented_errors
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import Caller, Processes, free_port, make_settings, running_processes, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1024 * 1024
HEAD_BYTES, FIELDS, URL_BYTES = 65_536, 100, 8_192
HEAD_SECONDS = 2.0
IDLE = 200
ENDLESS = 32 * MEGABYTE
"""More than the kernel's buffers and what the API reads of a client that has its answer, together."""


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
            head_seconds=HEAD_SECONDS,
            stall_seconds=2,
            attachments_url=f"file://{folder}",
            attachments_key="k" * 43,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    stage_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Processes]:
    async with running_processes(stage_settings, tmp_path_factory.mktemp("logs"), workers=0) as system:
        yield system


@pytest.fixture(scope="module")
def url(system: Processes) -> str:
    return system.urls[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alice(system: Processes) -> Caller:
    return await system.caller()


async def counts(url: str, metric: str) -> dict[str, float]:
    """A counter's values by its label's."""
    async with httpx2.AsyncClient() as client:
        text = (await client.get(f"{url}/metrics")).text
    lines = (line.split(" ") for line in text.splitlines() if line.startswith(metric))
    return {name.partition('"')[2].partition('"')[0]: float(value) for name, value in lines}


async def refused(url: str) -> dict[str, float]:
    return await counts(url, "relaykit_requests_refused_total{")


async def dropped(url: str) -> dict[str, float]:
    return await counts(url, "relaykit_connections_dropped_total{")


async def healthy(url: str) -> None:
    """Another client is answered."""
    answer, _ = await ask(url, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.status == 200


def assert_refused(answer: Head, status: int, code: str) -> None:
    """In the product's shape, as documented, and the last answer on its connection."""
    assert (answer.status, answer.code) == (status, code)
    assert code in documented_errors()[status]
    assert answer.error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"


def endless(piece: bytes) -> list[bytes]:
    block = piece * max(1, 65_536 // len(piece))
    return [block] * (ENDLESS // len(block))


CHUNKED = b"POST /chatkit HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS_HEADS = {
    "fields": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n", 431, "head_too_large"),
    "long fields": (
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
        b"a: " + b"b" * 4000 + b"\r\n",
        431,
        "head_too_large",
    ),
    "one value": (b"GET /healthz HTTP/1.1\r\nHost: a\r\na: ", b"x", 431, "head_too_large"),
    "one name": (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"x", 431, "head_too_large"),
    "spaces before a value": (b"GET /healthz HTTP/1.1\r\nHost: a\r\na:", b" ", 431, "head_too_large"),
    "line ends before the request": (b"\r\n", b"\r\n", 431, "head_too_large"),
    "a URL": (b"GET /", b"x", 414, "url_too_long"),
    "a query": (b"GET /healthz?", b"a=b&", 414, "url_too_long"),
}


@pytest.mark.parametrize("kind", ENDLESS_HEADS)
async def test_a_head_without_end_is_refused_and_the_client_reads_why_while_it_sends(
    url: str, kind: str
) -> None:
    start, piece, status, code = ENDLESS_HEADS[kind]
    before = await refused(url)
    async with connected(url, start) as connection, connection.sending(endless(piece)):
        assert_refused(await connection.answer(), status, code)
        await healthy(url)
        assert await connection.rest() == b""
        assert connection.sent_bytes < ENDLESS, "all of it was read"
    assert (await refused(url))[code] == before.get(code, 0) + 1


async def test_heads_without_end_cost_no_memory(system: Processes, url: str) -> None:
    """Without the limit 15 bytes for each that was sent."""
    pid = system.api_processes[0].popen.pid
    await healthy(url)
    before = resident_bytes(pid)
    start, piece, _, _ = ENDLESS_HEADS["long fields"]
    for _ in range(20):
        async with connected(url, start) as connection, connection.sending(endless(piece)):
            await connection.answer()
    grown = resident_bytes(pid) - before
    assert grown < 20 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"


async def test_idle_connections_hold_nothing_of_their_requests(system: Processes, url: str) -> None:
    """They may be idle for minutes, and each head may have 64 KB."""
    pid = system.api_processes[0].popen.pid
    asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\na: " + b"b" * 60_000 + b"\r\n\r\n"
    grown = []
    async with AsyncExitStack() as stack:
        for _ in range(3):  # the first round grows what is kept for the others
            before = resident_bytes(pid)
            for _ in range(IDLE):
                connection = await stack.enter_async_context(connected(url, asked))
                assert (await connection.answer()).status == 200
            grown.append(resident_bytes(pid) - before)
    assert grown[-1] < IDLE * 20_000, f"{grown[-1] / IDLE:.0f} bytes each"


ENDLESS_BODIES = {
    "trailers": (b"0\r\n", b"a: b\r\n"),
    "one trailer": (b"0\r\na: ", b"x"),
    "a chunk's extension": (b"1;", b"a=b;"),
    "an extension after data": (b"1\r\n{\r\n1;", b"a=b;"),
}


@pytest.mark.parametrize("kind", ENDLESS_BODIES)
async def test_what_surrounds_a_body_has_the_same_limit(url: str, alice: Caller, kind: str) -> None:
    start, piece = ENDLESS_BODIES[kind]
    head = CHUNKED.replace(b"Host: a", b"Host: a\r\nAuthorization: Bearer " + alice.token.encode())
    answer, rest = await ask(url, head, start, *endless(piece))
    assert_refused(answer, 431, "head_too_large")
    assert rest == b""


async def test_the_limits_are_exact(url: str) -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

    async def status(head: bytes) -> int:
        answer, _ = await ask(url, head)
        return answer.status

    full = last + b"a: " + b"b" * (HEAD_BYTES - len(last) - 7) + b"\r\n\r\n"
    assert len(full) == HEAD_BYTES
    assert await status(full) == 200
    assert await status(full.replace(b"bb", b"bbb", 1)) == 431
    many = b"".join(b"a%d: b\r\n" % number for number in range(FIELDS - 2))
    assert await status(last + many + b"\r\n") == 200
    assert await status(last + many + b"z: b\r\n\r\n") == 431
    long = b"/" + b"x" * (URL_BYTES - 1)
    assert await status(last.replace(b"/healthz", long) + b"\r\n") == 404
    assert await status(last.replace(b"/healthz", long + b"x") + b"\r\n") == 414


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        CHUNKED.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: identity") + b"0\r\n\r\n",
        CHUNKED.replace(b"chunked", b"identity, chunked") + b"0\r\n\r\n",
        CHUNKED.replace(b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
        CHUNKED + b"x\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_not_http_or_ambiguous_is_refused_in_the_one_shape(url: str, head: bytes) -> None:
    answer, rest = await ask(url, head)
    assert_refused(answer, 400, "bad_request")
    assert rest == b""


async def test_http_1_0_needs_no_host(url: str) -> None:
    answer, rest = await ask(url, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (answer.status, rest) == (200, b"")


async def test_a_trailer_is_no_header(url: str, alice: Caller) -> None:
    body = b'{"type":"threads.list","params":{}}'
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    trailer = b"Authorization: Bearer %b\r\nConnection: close\r\n\r\n" % alice.token.encode()
    async with connected(url, CHUNKED + chunk + trailer) as connection:
        answer = await connection.answer()
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_a_connection_that_says_nothing_is_closed_without_a_word(url: str) -> None:
    before = await dropped(url)
    async with connected(url) as connection:
        await healthy(url)
        assert await connection.rest() == b""
    assert (await dropped(url))["silent"] == before.get("silent", 0) + 1


async def test_a_head_that_does_not_come_is_told_so(url: str) -> None:
    async with connected(url, b"GET /healthz HT") as connection:
        await healthy(url)
        assert_refused(await connection.answer(), 408, "request_timeout")
        assert await connection.rest() == b""


async def test_a_head_that_drips_gains_no_time_by_it(url: str) -> None:
    """Also after an answer: its time begins with its first byte."""
    async with connected(url, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        assert (await connection.answer()).status == 200
        dripping = asyncio.create_task(_drip(connection.writer, b"GET /" + b"x" * 2000))
        assert_refused(await connection.answer(), 408, "request_timeout")
        dripping.cancel()


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(HEAD_SECONDS / 20)


def post(alice: Caller, length: int) -> bytes:
    return (
        f"POST /chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {alice.token}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("drips", [False, True])
async def test_a_body_that_does_not_come_is_told_so(url: str, alice: Caller, drips: bool) -> None:
    async with connected(url, post(alice, 100_000) + b"{") as connection:
        dripping = asyncio.create_task(_drip(connection.writer, b" " * 2000 * drips))
        assert_refused(await connection.answer(), 408, "request_timeout")
        assert await connection.rest() == b""
        dripping.cancel()


async def test_a_body_may_be_slow_as_long_as_its_average_is_not(url: str, alice: Caller) -> None:
    """Three times HEAD_SECONDS, of which a body that has brought less than this one would have had one."""
    body = json.dumps({"type": "threads.list", "params": {}}).encode() + b" " * 900_000
    async with connected(url, post(alice, len(body)) + body[:-30]) as connection:
        for byte in body[-30:]:
            await asyncio.sleep(HEAD_SECONDS / 10)
            await connection.send(bytes([byte]))
        assert (await connection.answer()).status == 200


async def test_an_upload_that_does_not_come_is_told_so_and_leaves_no_bytes(
    stage_settings: Settings, url: str, alice: Caller
) -> None:
    params = {"name": "a.txt", "size": 50_000, "mime_type": "text/plain"}
    created = await alice.ask({"type": "attachments.create", "params": params})
    link = created["upload_descriptor"]["url"].removeprefix(url)
    head = f"PUT {link} HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n".encode()
    async with connected(url, head + b"x" * 500) as connection:
        assert_refused(await connection.answer(), 408, "request_timeout")
    folder = Path(str(stage_settings.attachments_url).removeprefix("file://"))
    await wait_until("nothing is left of it", lambda: not [*folder.rglob("*")])

    async def is_taken() -> bool:
        """Refused as long as the upload that did not come has not been given up in its row too."""
        whole = await alice.client.put(link, content=b"x" * 50_000)
        assert whole.status_code in (204, 409)
        return whole.status_code == 204

    await wait_until("the upload is taken anew", is_taken)


async def test_an_answer_that_comes_before_its_body_reaches_the_client(url: str) -> None:
    """It sends all of its body first, and reads then; the connection takes no further request."""
    length = 900_000
    head = b"POST /chatkit HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
    async with connected(url, head + b"x") as connection:
        for _ in range(8):
            await connection.send(b"x" * (length // 9))
            await healthy(url)
        answer = await connection.answer()
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""


async def test_a_client_that_goes_on_after_its_answer_is_cut(url: str) -> None:
    head = b"POST /chatkit HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
    async with connected(url, head) as connection:
        assert (await connection.answer()).status == 401
        await connection.send_in_vain(endless(b"x"))
        assert connection.sent_bytes < ENDLESS


async def test_an_answer_that_is_not_read_is_given_up(url: str) -> None:
    """Also one that is no stream: the client asks for more than the kernel holds, and takes nothing."""
    before = await dropped(url)
    one = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
    async with connected(url, one * 300, limit=4096):

        async def stalled() -> bool:
            await healthy(url)
            return (await dropped(url)).get("stalled", 0) == before.get("stalled", 0) + 1

        await wait_until("the connection is closed", stalled)


async def test_requests_that_come_at_once_are_all_answered_in_their_order(url: str) -> None:
    """Each is read when the one before it is answered."""
    count = 20
    requests = [b"GET /runs/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(count - 1)]
    last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer, rest = await ask(url, b"".join([*requests, last]))
    assert answer.status == 401
    assert rest.count(b"HTTP/1.1 401") == count - 2
    assert rest.count(b"HTTP/1.1 200") == 1
    assert rest.rindex(b"HTTP/1.1 401") < rest.index(b"HTTP/1.1 200")


async def test_requests_in_wait_cost_little_memory(system: Processes, url: str, alice: Caller) -> None:
    """Without a limit 60 bytes for each that was sent. The one in front of them is held by its body."""
    pid = system.api_processes[0].popen.pid
    await healthy(url)
    before = resident_bytes(pid)
    async with AsyncExitStack() as stack:
        for _ in range(12):
            connection = await stack.enter_async_context(connected(url))
            waiting = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 200
            asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 8000
            sending = asyncio.create_task(connection.send_in_vain([waiting + asked]))
            stack.callback(sending.cancel)
        await asyncio.sleep(HEAD_SECONDS / 2)
        await healthy(url)
        grown = resident_bytes(pid) - before
    assert grown < 60 * MEGABYTE, f"{grown / MEGABYTE:.0f} MB"


async def test_a_request_behind_a_chunked_one_is_never_answered_in_its_place(url: str) -> None:
    """Where the second begins only the parser knows: the connection closes after the first, and says so by closing."""
    first = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
    answer, rest = await ask(url, first + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, rest) == (401, b"")


async def test_a_request_after_the_answer_to_a_chunked_one_is_answered(url: str) -> None:
    async with connected(
        url, CHUNKED.replace(b"/chatkit", b"/nowhere") + b"2\r\n{}\r\n0\r\n\r\n"
    ) as connection:
        assert (await connection.answer()).status == 404
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await connection.answer()).status == 200
