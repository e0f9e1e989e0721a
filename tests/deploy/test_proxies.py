"""The proxies of deploy/proxies in front of two API processes, and clients that speak HTTP/2 over TLS to them."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from relaykit.shared.settings import Settings
from tests.support.clients.retrying_client import RetryingClient
from tests.support.clients.stream_clients import asking
from tests.support.network.certificates import Certificates, made_certificates
from tests.support.network.deployed_proxies import PRIVATE, PROXIES, Place, program, proxied
from tests.support.processes.programs import required
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import (
    WAIT_SECONDS,
    Caller,
    Processes,
    create,
    free_port,
    keyed,
    make_settings,
    running_processes,
    wait_until,
)

pytestmark = [pytest.mark.deploy, pytest.mark.asyncio(loop_scope="module")]

LONG_SECONDS = float(os.environ.get("LONG_SECONDS", "150"))
"""How long the long answer takes. It is silent for longer than each proxy waits, but for pings."""
SILENT_SECONDS = 75.0
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(3 * 1024 * 1024)
CLIENTS = 20
SENT_TO_LOST = 200
"""Of so many requests less than one may be lost with a listener that is closed."""


@dataclass
class Behind:
    """One proxy with the two processes behind it."""

    name: str
    place: Place
    system: Processes
    tls: ssl.SSLContext
    alice: Caller

    @asynccontextmanager
    async def client(self, address: str = "127.0.0.1", *, http2: bool = True) -> AsyncIterator[Caller]:
        """Alice at the proxy, from `address`."""
        transport = httpx2.AsyncHTTPTransport(
            verify=self.tls,
            http2=http2,
            local_address=address,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        )
        async with httpx2.AsyncClient(
            base_url=self.place.url, transport=transport, timeout=httpx2.Timeout(WAIT_SECONDS + 10)
        ) as client:
            yield replace(self.alice, client=client)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return made_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stage_settings(
    redis_databases: RedisDatabases,
    databases: Databases,
    issuer_key_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
            chatkit_app="tests.support.servers.echo_site:app",
            attachments_url=f"file://{tmp_path_factory.mktemp('attachments')}",
            attachments_key="a secret of the tests that has more than 32 bytes",
            drain_seconds=5,
            shutdown_delay_seconds=5,
            run_timeout_seconds=LONG_SECONDS + 300,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    stage_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Processes]:
    folder = tmp_path_factory.mktemp("processes")
    async with running_processes(stage_settings, folder, apis=2) as system:
        yield system


@asynccontextmanager
async def standing(
    name: str, system: Processes, folder: Path, certificates: Certificates
) -> AsyncIterator[Behind]:
    """The proxy in front of the first two APIs, when it answers for one of them."""
    program(name)
    ports = [urlsplit(url).port or 0 for url in system.urls[:2]]
    tls = ssl.create_default_context(cafile=certificates.root)
    with proxied(name, folder / name, ports, certificates) as place:
        behind = Behind(name, place, system, tls, await system.caller())
        async with behind.client() as alice:

            async def answers() -> bool:
                place.assert_runs()
                try:
                    return (await alice.client.get("/healthz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await wait_until(f"{name} answers", answers)
        yield behind


@pytest_asyncio.fixture(params=list(PROXIES), loop_scope="module")
async def behind(
    request: pytest.FixtureRequest, system: Processes, tmp_path: Path, certificates: Certificates
) -> AsyncIterator[Behind]:
    async with standing(request.param, system, tmp_path, certificates) as made:
        yield made


def assert_error(response: httpx2.Response, status: int, code: str) -> None:
    """In the one shape of docs/protocol.md."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert (error["code"], bool(error["message"])) == (code, True)


async def test_an_answer_comes_by_http_2_piece_by_piece(behind: Behind, tmp_path: Path) -> None:
    """It waits in its middle until the client has had the beginning: what holds that back waits for ever."""
    gate = tmp_path / "gate"
    script = Script(deltas=6, gate=str(gate), holds=[3])
    async with behind.client() as alice, asking(alice, create(str(script)), keyed(tmp_path)) as asker:
        await asker.until("the first half", lambda answer: script.piece(1, 2) in answer.text)
        assert script.piece(1, 3) not in asker.answer.text
        assert asker.response is not None
        assert asker.response.http_version == "HTTP/2"
        open_gate(gate, 3)
        assert (await asker.finished()).end == "completed"


async def test_a_picture_of_3_mb_goes_up_and_one_above_the_limit_is_refused(
    behind: Behind, tmp_path: Path
) -> None:
    async with behind.client() as alice:
        params = {"name": "tea.png", "size": len(PICTURE), "mime_type": "image/png"}
        made = await alice.ask({"type": "attachments.create", "params": params})
        link = urlsplit(made["upload_descriptor"]["url"])
        path = f"{link.path}?{link.query}"
        refused = await curl(behind, "PUT", path, bytes(23 * 1024 * 1024), tmp_path)
        assert refused in early(behind, (413, "application/json", "body_too_large"))
        put = await alice.client.put(path, content=PICTURE)
        assert put.status_code in (200, 201, 204), put.text
        assert put.http_version == "HTTP/2"


def early(behind: Behind, answer: tuple[int, str, str]) -> list[tuple[int, str, str]]:
    """What a client may see of an answer that comes before its request is whole: some proxies reset the stream.

    They do so before the answer, or after its head.
    """
    cut = [(0, "", ""), (*answer[:2], "")]
    return [answer, *cut] if behind.name in ("haproxy", "envoy") else [answer]


async def curl(behind: Behind, method: str, path: str, body: bytes, folder: Path) -> tuple[int, str, str]:
    """Status, type and code of an answer that comes before its request is sent, which curl reads as browsers do."""
    sent = folder / "sent"
    sent.write_bytes(body)
    command = [required("curl"), "--silent", "--http2", "--cacert", behind.place.certificates.root]
    command += ["--request", method, "--header", f"Authorization: Bearer {behind.alice.token}"]
    command += ["--header", "Content-Type: image/png", "--data-binary", f"@{sent}"]
    command += ["--write-out", "\n%{http_code} %{content_type}", behind.place.url + path]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    answer, _, last = output.decode().rpartition("\n")
    status, _, content_type = last.partition(" ")
    code = json.loads(answer)["error"]["code"] if answer else ""
    return int(status), content_type, code


async def test_a_websocket_of_the_sites_application_is_passed_on_and_kept_by_pings(
    behind: Behind, certificates: Certificates
) -> None:
    """Over HTTP/1.1, as a browser opens it. Its client is silent for longer than each proxy waits."""
    tls = ssl.create_default_context(cafile=certificates.root)
    url = f"wss{behind.place.url.removeprefix('https')}/echo"
    async with connect(url, ssl=tls, ping_interval=None, proxy=None) as socket:
        for text in ("at once", "x" * 300_000):
            await socket.send(text)
            assert await socket.recv() == text
        await asyncio.sleep(SILENT_SECONDS)
        await socket.send("after a silence")
        assert await socket.recv() == "after a silence"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url.replace("/echo", "/chatkit"), ssl=tls, proxy=None):
            pass
    assert refused.value.response.status_code == 405


async def test_metrics_and_the_console_are_for_private_addresses_alone(behind: Behind) -> None:
    async with behind.client() as public, behind.client(address=PRIVATE) as private:
        encoded = ("/%6fps", "/%6fps/api/runs", "/op%73", "/ops%2Fapi%2Fruns", "/metric%73")
        for path in ("/metrics", "/metrics/", "/ops", "/ops/api/runs", *encoded):
            assert_error(await public.client.get(path), 404, "not_found")
        assert "relaykit_streams" in (await private.client.get("/metrics")).text
        # without the console the path is the site's application's, which has none either
        assert (await private.client.get("/ops/api/runs")).json() == {"detail": "Not Found"}
        for path in ("/metrics", "/ops/api/runs"):
            forged = await public.client.get(path, headers={"X-Forwarded-For": PRIVATE})
            assert_error(forged, 404, "not_found")


async def test_what_the_api_refuses_comes_as_the_api_says_it(behind: Behind, tmp_path: Path) -> None:
    async with behind.client() as alice:
        nobody = replace(alice, token="x.y.z")
        answer = await nobody.get("/runs/run_x")
        assert_error(answer, 401, "unauthenticated")
        assert "www-authenticate" in answer.headers
        assert_error(await alice.get("/runs/run_x"), 404, "run_not_found")
        large = await curl(behind, "POST", "/chatkit", b"{" + bytes(1_100_000), tmp_path)
        assert large in early(behind, (413, "application/json", "body_too_large"))


@pytest.mark.timeout(LONG_SECONDS + 300)
async def test_a_long_answer_with_long_silences_comes_whole(
    system: Processes, tmp_path: Path, certificates: Certificates
) -> None:
    """Through all of them at once, over one connection each, without a reconnect."""
    gate = tmp_path / "gate"
    script = Script(deltas=8, gate=str(gate), holds=[2, 4, 6])
    async with AsyncExitStack() as stack:
        askers = []
        for name in PROXIES:
            behind = await stack.enter_async_context(standing(name, system, tmp_path, certificates))
            alice = await stack.enter_async_context(behind.client())
            askers.append(
                await stack.enter_async_context(asking(alice, create(str(script)), keyed(tmp_path / name)))
            )
        began = time.monotonic()
        for hold in script.holds:
            for asker in askers:
                await asker.until(
                    f"delta {hold - 1}", lambda answer, hold=hold: script.piece(1, hold - 1) in answer.text
                )
            await asyncio.sleep(max(SILENT_SECONDS, (LONG_SECONDS - SILENT_SECONDS) / 2))
            if time.monotonic() - began >= LONG_SECONDS:
                open_gate(gate, *script.holds)
            open_gate(gate, hold)
        for asker in askers:
            answer = await asker.finished()
            assert answer.end == "completed"
            assert answer.raw.count(b": ping") > LONG_SECONDS / 30


async def test_both_apis_are_restarted_and_no_client_sees_it(
    system: Processes, behind: Behind, tmp_path: Path
) -> None:
    """Streams resume at the other process, and each post in the meantime is answered: not one 5xx to a stream's client.

    A POST that was on its way to a process as that closed its listener is not sent again by a proxy, because it might
    be done twice: 502, and the client's repetition is answered.
    """
    ports = behind.place.upstreams
    script = Script(deltas=120, every_seconds=0.25)
    # httpcore ends a body by a frame of its own. Envoy, which has had the whole length, may have answered and closed
    # the stream by then, and httpcore raises. curl and browsers end a body with its last piece.
    async with behind.client(http2=behind.name != "envoy") as alice:
        clients = [
            RetryingClient([alice], create(str(script)), f"{behind.name}-{number}")
            for number in range(CLIENTS)
        ]
        chats = [asyncio.create_task(client.follow()) for client in clients]
        await wait_until("all have begun", lambda: all(client.run_id for client in clients))
        restarted = asyncio.Event()
        statuses: list[int] = []

        async def post() -> None:
            while not restarted.is_set():
                answer = await alice.post({"type": "threads.list", "params": {}})
                statuses.append(answer.status_code)
                if answer.status_code == 502:
                    assert_error(answer, 502, "bad_gateway")
                    assert int(answer.headers["retry-after"]) >= 1
                    answer = await alice.post({"type": "threads.list", "params": {}})
                    assert answer.status_code == 200
                await asyncio.sleep(0.05)

        posts = asyncio.gather(*(post() for _ in range(4)))
        for number, port in enumerate(ports):
            process = next(
                one
                for one, url in zip(system.api_processes[::-1], system.urls[::-1], strict=True)
                if url.endswith(f":{port}") and one.popen.poll() is None
            )
            await asyncio.to_thread(process.terminate)
            await system.start_api(port)
            if number == 0:
                # as a rollout does: the proxy has to have found out that the new one is there
                await wait_until("a while of posts", lambda had=len(statuses): len(statuses) > had + 150)
        restarted.set()
        await posts
        await asyncio.gather(*chats)
        assert set(statuses) <= {200, 502}, set(statuses)
        assert statuses.count(502) * SENT_TO_LOST < len(statuses), statuses.count(502)
        for client in clients:
            assert client.refused == []
            assert client.ended
            deltas = [
                event["update"]["delta"]
                for event in client.events
                if event["type"] == "thread.item.updated" and "delta" in event["update"]
            ]
            text = "".join(deltas)
            assert [text.count(script.piece(1, number)) for number in range(script.deltas)] == [
                1
            ] * script.deltas


async def test_without_an_api_the_answer_is_an_error_in_the_one_shape(
    system: Processes, tmp_path: Path, certificates: Certificates
) -> None:
    """502 or 503, with the time after which to come again: 503 where no process was reached at all."""
    for name in PROXIES:
        program(name)
        with proxied(name, tmp_path / name, [free_port(), free_port()], certificates) as place:
            behind = Behind(
                name,
                place,
                system,
                ssl.create_default_context(cafile=certificates.root),
                await system.caller(),
            )
            async with behind.client() as alice:

                async def answer(alice: Caller = alice) -> httpx2.Response | None:
                    try:
                        return await alice.post(create("hello"))
                    except httpx2.TransportError:
                        return None

                got = await wait_until(f"{name} answers", answer)
                assert got.status_code in (502, 503)
                assert_error(got, got.status_code, {502: "bad_gateway", 503: "unavailable"}[got.status_code])
                assert int(got.headers["retry-after"]) >= 1
