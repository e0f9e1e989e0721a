"""CHATKIT_APP: the site's own application answers what is not ours, on the loop of the site's code."""

from __future__ import annotations

import asyncio
import http.client
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from relaykit.api.main import create_app
from relaykit.shared.errors import ServerLoadError
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import asking
from tests.support.servers import lively_site
from tests.support.servers.lively_site import FOLDER, noted
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import START_SECONDS, create, running, start_process, wait_until

SITE = "tests.support.servers.lively_site"
DELTAS = 12
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setattr(lively_site, "pools", [])
    return folder


def with_app(settings: Settings, app: str = "app", **more: Any) -> Settings:
    given = {
        "chatkit_server": f"{SITE}:LivelyServer",
        "chatkit_lifespan": f"{SITE}:lifespan",
        "chatkit_app": f"{SITE}:{app}",
    }
    return settings.model_copy(update={**given, **more})


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


async def test_what_is_not_ours_is_the_applications_and_its_middleware_wraps_nothing_else(
    settings: Settings,
) -> None:
    """With the state of its own lifespan, and with what CHATKIT_LIFESPAN has opened on the same loop."""
    async with running(with_app(settings), workers=0) as system:
        alice = await system.caller()
        response = await alice.get("/orders")
        assert (response.status_code, response.json()) == (200, {"shelf": "oak", "pool": "pool"})
        assert response.headers["x-site"] == "1"
        assert "x-content-type-options" not in response.headers, "its headers are its own"
        assert (await alice.get("/no-such")).json() == {"detail": "Not Found"}
        for path in ("/healthz", "/readyz", "/metrics", "/runs/all", "/openapi.json", "/chatkit"):
            ours = await alice.get(path)
            assert "x-site" not in ours.headers, path
            assert ours.headers["x-content-type-options"] == "nosniff", path
        assert (await alice.get("/runs/all")).json()["error"]["code"] == "run_not_found"
        assert (await alice.get("/chatkit")).status_code == 405
        threads = await alice.ask({"type": "threads.list", "params": {}})
        assert threads["data"] == []
    middleware = [line for line in noted() if line.startswith("middleware")]
    assert middleware == ["middleware /orders", "middleware /no-such"]
    assert [line for line in noted() if line not in middleware] == [
        "api entered", "app entered", "app left", "api left",
    ]  # fmt: skip


@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["request", "websocket"])
async def test_what_a_proxy_keeps_from_the_public_is_not_the_applications_by_an_encoded_letter(
    settings: Settings, headers: dict[str, str]
) -> None:
    """Without the console `/ops` is the application's, and a proxy may have closed it all the same."""
    site = settings.model_copy(update={"chatkit_app": "tests.support.servers.site_pages:catch_all"})
    async with running(site, ScriptedAnswers, workers=0) as system:
        host, _, port = system.urls[0].removeprefix("http://").partition(":")

        def status(path: str) -> int:
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            try:
                connection.request("GET", path, headers=headers)
                return connection.getresponse().status
            finally:
                connection.close()

        for path in ("/op%73", "/%6fps/x", "/ops%2Fx", "/metric%73"):
            assert await asyncio.to_thread(status, path) == 404, path
        theirs = 403 if headers else 200  # it has no WebSocket
        for path in ("/ops", "/ops/%78", "/opera%73"):
            assert await asyncio.to_thread(status, path) == theirs, path


async def test_routes_that_are_never_reached_are_told_at_start(settings: Settings) -> None:
    with capture_logs() as lines:
        async with running(with_app(settings), workers=0):
            pass
    (told,) = [line for line in lines if line["action"] == "app_routes_hidden"]
    assert told["paths"] == ["/chatkit", "/healthz", "/runs/all"]


@pytest.mark.parametrize("app", ["with_page", "catch_all", "mounted"])
async def test_a_page_of_the_sites_own_is_at_the_root_and_local_modes_beside_it(
    settings: Settings, app: str
) -> None:
    await _at_the_root(settings, f"tests.support.servers.site_pages:{app}", theirs=True)


@pytest.mark.parametrize("app", ["without_page", "bare"])
async def test_without_a_page_of_the_sites_own_local_modes_is_at_the_root(
    settings: Settings, app: str
) -> None:
    """Also where the application is no framework's and does not show its routes."""
    await _at_the_root(settings, f"tests.support.servers.site_pages:{app}", theirs=False)


async def _at_the_root(settings: Settings, app: str, *, theirs: bool) -> None:
    site = settings.model_copy(update={"chatkit_app": app, "chatkit_server": f"{SITE}:ScriptedAnswers"})
    async with (
        running(site, workers=0) as system,
        httpx2.AsyncClient(base_url=system.urls[0]) as client,
    ):
        root = await client.get("/")
        assert (root.status_code, root.text == "theirs") == (200, theirs)
        for path in ("/", "/demo")[theirs:]:
            assert "<relaykit-chat" in (await client.get(path)).text


async def test_a_route_that_raises_when_it_is_asked_for_a_page_stops_the_start(settings: Settings) -> None:
    site = settings.model_copy(update={"chatkit_app": "tests.support.servers.site_pages:raising"})
    with pytest.raises(ServerLoadError, match=r"CHATKIT_APP=.*: LookupError at .*site_pages\.py"):
        create_app(site)


@pytest.mark.parametrize("app", ["app", "plain"])
async def test_the_verified_caller(settings: Settings, client: httpx2.AsyncClient, app: str) -> None:
    """What `POST /chatkit` refuses is refused with the same status, code and challenge."""
    async with running(
        with_app(settings, app, chatkit_lifespan=None, chatkit_server=f"{SITE}:ScriptedAnswers"), workers=0
    ) as system:
        alice = await system.caller("alice", tenant="acme")
        response = await alice.get("/me")
        assert response.status_code == 200
        if app == "plain":
            assert response.text == "alice"
            return
        user = response.json()
        assert (user["user"], user["tenant"], user["claims"]["sub"]) == ("alice", "acme", "alice")
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {alice.token}x"}):
            theirs = await client.get(f"{system.urls[0]}/me", headers=headers)
            ours = await client.post(f"{system.urls[0]}/chatkit", headers=headers)
            assert theirs.status_code == ours.status_code == 401
            assert theirs.json()["detail"] == ours.json()["error"]
            assert theirs.headers["www-authenticate"] == ours.headers["www-authenticate"]
        twice = [("authorization", f"Bearer {alice.token}")] * 2
        assert (await client.get(f"{system.urls[0]}/me", headers=twice)).status_code == 401


async def test_a_caller_that_a_route_changes_is_nobody_elses(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verified token is kept: what a route does to its claims stays with that request."""
    async with running(with_app(settings), workers=0) as system:
        alice = await system.caller("alice")
        monkeypatch.setattr(lively_site, "dict", _spoiling, raising=False)
        assert (await alice.get("/me")).json()["claims"]["sub"] == "mallory"
        monkeypatch.undo()
        monkeypatch.setenv(FOLDER, os.environ.get(FOLDER, "/tmp"))
        assert (await alice.get("/me")).json()["claims"]["sub"] == "alice"


def _spoiling(claims: Any) -> dict[str, Any]:
    claims["sub"] = "mallory"
    return {**claims}


async def test_a_route_that_blocks_its_loop_moves_no_delta(
    settings: Settings, folder: Path, tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    """While it stands, a stream gets every delta that is made meanwhile, and the process answers its own paths."""
    gate = tmp_path / "gate"
    async with running(with_app(settings)) as system:
        alice = await system.caller()
        script = str(Script(deltas=DELTAS, gate=str(gate), holds=list(range(DELTAS))))
        async with asking(alice, create(script)) as stream:
            await stream.until("it began", lambda answer: answer.of_type("thread.item.added"))
            blocked = asyncio.create_task(client.get(f"{system.urls[0]}/blocked-until/open"))
            await wait_until("the route blocks", lambda: "open is awaited" in noted())
            for number in range(DELTAS):
                open_gate(gate, number)
                await stream.until(
                    "the next delta",
                    lambda answer, after=number: len(answer.of_type("thread.item.updated")) > after,
                )
                assert (await client.get(f"{system.urls[0]}/readyz")).status_code == 200
            assert (await stream.finished()).end == "completed"
            assert not blocked.done()
            (folder / "open").touch()
            assert (await blocked).json() == "open"


async def test_under_load_routes_that_sleep_hold_up_no_stream(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    """Three answers begin and end before three routes with `time.sleep(3)` have, which run one after the other."""
    async with running(with_app(settings)) as system:
        alice = await system.caller()
        asleep = [asyncio.create_task(client.get(f"{system.urls[0]}/block/3")) for _ in range(3)]
        await wait_until("one sleeps", lambda: noted().count("block begins") == 1)
        answers = [
            await alice.stream(
                create(str(Script(deltas=DELTAS)), attachments=[]), {"Idempotency-Key": str(n)}
            )
            for n in range(3)
        ]
        assert {answer.end for answer in answers} == {"completed"}
        assert noted().count("block ends") < 3, "the streams waited for the routes"
        names = {(await each).json() for each in asleep}
        assert names == {"server"}, "the routes ran on the thread of the site's code"


async def test_a_blocked_application_is_named_and_then_refused(
    settings: Settings, folder: Path, client: httpx2.AsyncClient
) -> None:
    with capture_logs() as lines:
        async with running(with_app(settings, context_seconds=1.5), workers=0) as system:
            blocked = asyncio.create_task(client.get(f"{system.urls[0]}/blocked-until/open"))
            await wait_until("the route blocks", lambda: "open is awaited" in noted())
            refused = await client.get(f"{system.urls[0]}/orders")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_blocked")
            (folder / "open").touch()
            assert (await blocked).status_code == 200
    told = [line for line in lines if line["action"] == "loop_blocked"]
    assert all(f"{lively_site.__file__}:" in str(line["place"]) for line in told)
    assert told


async def test_bodies_and_streams_pass_piece_by_piece_and_wait_for_the_other_side(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    async with running(with_app(settings), workers=0) as system:
        url = system.urls[0]

        async def body() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b"x" * 65_536

        assert (await client.post(f"{url}/length", content=body())).json() == {"bytes": 64 * 65_536}
        big = settings.max_body_bytes + 1
        assert (await client.post(f"{url}/length", content=b"x" * big)).json() == {"bytes": big}
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
        writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        previous = -1

        def stands() -> bool:
            nonlocal previous
            pieces = sum(line.startswith("piece") for line in noted())
            stood, previous = pieces == previous and pieces > 0, pieces
            return stood

        await _settled("the application waits for its client", stands)
        held = previous
        assert held < 1000, "it went on without its client"
        await reader.readexactly(65_536 * 4)
        await wait_until("it goes on", lambda: sum(line.startswith("piece") for line in noted()) > held)
        writer.transport.abort()
        await wait_until("it hears that the client has gone", lambda: "stream ended" in noted())


async def _settled(what: str, condition: Any) -> None:
    async def twice() -> bool:
        await asyncio.sleep(0.3)
        return bool(condition())

    await wait_until(what, twice)


@pytest.mark.parametrize(
    ("app", "path", "status", "action"),
    [
        ("app", "/fails", 500, "app_failed"),
        ("app", "/exits", 500, "server_failed"),
        ("plain", "/fails", 500, "app_failed"),
        ("plain", "/silent", 500, "app_failed"),
    ],
)
async def test_an_application_that_fails_is_a_500_and_a_line_with_its_place(
    settings: Settings, client: httpx2.AsyncClient, app: str, path: str, status: int, action: str
) -> None:
    with capture_logs() as lines:
        async with running(with_app(settings, app), workers=0) as system:
            response = await client.get(f"{system.urls[0]}{path}")
            assert response.status_code == status
            assert "Geheim7391" not in response.text
            if app == "plain":
                assert response.json()["error"]["code"] == "internal"
            again = await client.get(f"{system.urls[0]}/healthz")
            assert again.status_code == 200
    told = [line for line in lines if line["action"] == action]
    assert len(told) == 1
    if path in ("/fails", "/exits"):
        assert lively_site.__file__ in str(told[0]["frames"])
    assert "Geheim7391" not in str(lines)


@pytest.mark.parametrize("path", ["/breaks", "/nonsense"])
async def test_an_application_that_breaks_off_closes_the_connection(
    settings: Settings, client: httpx2.AsyncClient, path: str
) -> None:
    """So that its client does not take what has come for the whole."""
    async with running(with_app(settings, "plain"), workers=0) as system:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{system.urls[0]}{path}")


async def test_an_application_that_knows_no_lifespan_is_served_without(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    with capture_logs() as lines:
        async with running(with_app(settings, "deaf"), workers=0) as system:
            assert (await client.get(f"{system.urls[0]}/any")).status_code == 200
    assert [line["action"] for line in lines if "lifespan" in line["action"]] == ["app_without_lifespan"]


async def test_a_request_that_outlasts_the_drain_is_cancelled_and_answered(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    """Before the lifespan is left, in which the route may still use what was opened."""
    async with running(with_app(settings, "waits"), workers=0) as system:
        waiting = asyncio.create_task(client.get(f"{system.urls[0]}/any"))
        await wait_until("the route waits", lambda: "waits" in noted())
    response = await waiting
    assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
    assert noted() == ["api entered", "waits", "cancelled", "api left"]


BAD_APPS: dict[str, tuple[str, str]] = {
    "absent": ("no_such", "has no attribute 'no_such'"),
    "no application": ("FOLDER", "is a str, not an ASGI application"),
    "a class": ("Pool", "is a class: name an instance of it"),
    "a factory": (
        "noted",
        "called with scope, receive and send, as an ASGI application is: too many positional",
    ),
    "wsgi": ("wsgi", "called with scope, receive and send, as an ASGI application is: too many positional"),
}


@pytest.mark.parametrize(("name", "reason"), BAD_APPS.values(), ids=BAD_APPS)
def test_what_is_no_application_is_one_line(settings: Settings, name: str, reason: str) -> None:
    with pytest.raises(ServerLoadError) as refused:
        create_app(with_app(settings, name, chatkit_lifespan=None, chatkit_server=f"{SITE}:ScriptedAnswers"))
    assert refused.value.message.startswith(f"CHATKIT_APP={SITE}:{name}: ")
    assert reason in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("how", ["raise", "hang", "block"])
def test_an_application_whose_lifespan_fails_ends_the_process_with_status_2(
    settings: Settings, folder: Path, tmp_path: Path, how: str
) -> None:
    (folder / "app_enter").write_text(how)
    process = start_process(
        "api", with_app(settings, lifespan_seconds=0.5), tmp_path / "log", **{FOLDER: str(folder)}
    )
    try:
        assert process.popen.wait(START_SECONDS) == 2, process.output
    finally:
        process.kill()
    assert f"{lively_site.__file__}:" in process.output
    assert "Geheim7391" not in process.output
    assert "Traceback" not in process.output


async def test_a_worker_loads_no_application(settings: Settings) -> None:
    """One that is absent there stops none: a worker's image may lack it."""
    from relaykit.worker.main import create_worker

    worker = create_worker(with_app(settings, "no_such"))
    task = asyncio.create_task(worker.run())
    await wait_until("it has entered its lifespan", lambda: "worker entered" in noted() or task.done())
    worker.drain()
    await task
    assert noted() == ["worker entered", "worker left"]


async def test_a_route_that_asks_hears_that_its_client_has_gone(
    settings: Settings, client: httpx2.AsyncClient
) -> None:
    """Starlette's is_disconnected() waits for nothing: it takes only a message that is here."""
    async with running(with_app(settings, "asking"), workers=0) as system:
        request = asyncio.create_task(client.get(f"{system.urls[0]}/asks"))
        await wait_until("the route works", lambda: "asks" in noted())
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await wait_until("it hears that its client has gone", lambda: "heard" in noted())
