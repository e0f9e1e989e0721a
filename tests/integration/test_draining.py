"""SIGTERM to an API process: it says that it stops and goes on serving, so that balancers leave it, then it drains."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from relaykit.api.http import server as server_module
from relaykit.shared.settings import Settings
from tests.support.clients.http_bytes import RawConnection, ask, connected
from tests.support.clients.stream_clients import asking, crowd
from tests.support.processes.crash_points import process
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import START_SECONDS, Caller, System, create, free_port, running, wait_until

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
READY = HEALTH.replace(b"healthz", b"readyz")
CLOSING = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
LONG = "3600"


@dataclass
class Api:
    """An API process of its own."""

    child: ForkServerProcess
    url: str
    log: Path

    def signal(self, number: signal.Signals) -> None:
        assert self.child.pid is not None
        os.kill(self.child.pid, number)

    async def drains(self) -> None:
        await wait_until("it says that it stops", lambda: '"api_drain"' in self.log.read_text())

    async def has_ended(self) -> None:
        await wait_until("it has ended", lambda: not self.child.is_alive())
        assert "api stopped" in self.log.read_text()


@pytest_asyncio.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    """With a worker, and an API that stays."""
    async with running(settings, ScriptedAnswers) as system:
        yield system


@asynccontextmanager
async def api(system: System, tmp_path: Path, delay_seconds: str, **more: str) -> AsyncIterator[Api]:
    port = free_port()
    log = tmp_path / "api.log"
    given = {"SHUTDOWN_DELAY_SECONDS": delay_seconds, "PORT": str(port), **more}
    started = process("api", system.settings, log, **given)
    child = await asyncio.to_thread(
        started.__enter__
    )  # it may take long, and the worker here has leases to renew
    try:
        api = Api(child, f"http://127.0.0.1:{port}", log)
        async with httpx2.AsyncClient() as client:

            async def is_ready() -> bool:
                assert child.is_alive(), log.read_text()
                with suppress(httpx2.TransportError):
                    return (await client.get(f"{api.url}/readyz")).status_code == 200
                return False

            await wait_until("the API is ready", is_ready, START_SECONDS)
        yield api
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)


@asynccontextmanager
async def calling(api: Api, caller: Caller) -> AsyncIterator[Caller]:
    """The same caller at that API, with a connection for each request."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=api.url, timeout=httpx2.Timeout(30), limits=limits) as client:
        yield Caller(client, caller.token)


def half_a_request(caller: Caller) -> tuple[bytes, bytes]:
    body = json.dumps({"type": "threads.list", "params": {}}).encode()
    head = f"POST /chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller.token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1], body[-1:]


async def assert_last(connection: RawConnection) -> None:
    """A good answer, the last on its connection."""
    answer = await connection.answer()
    assert (answer.status, answer.headers.get("connection")) == (200, "close")
    assert await connection.rest() == b""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_on_while_it_is_not_ready_until_a_second_signal(
    system: System, tmp_path: Path, second: signal.Signals
) -> None:
    """Each answer is then the last one on its connection, also where that was kept or the request had begun."""
    alice = await crowd(system, await system.caller())
    gate = tmp_path / "gate"
    async with api(system, tmp_path, LONG) as process, AsyncExitStack() as stack:
        here = await stack.enter_async_context(calling(process, alice))
        kept, pipelined = [await stack.enter_async_context(connected(process.url, HEALTH)) for _ in range(2)]
        for each in (kept, pipelined):
            answer = await each.answer()
            assert (answer.status, "connection" in answer.headers) == (200, False)
        first, last = half_a_request(alice)
        half = await stack.enter_async_context(connected(process.url, first))
        await half.send(b"")
        script = Script(deltas=4, gate=str(gate), holds=[2])
        open_stream = await stack.enter_async_context(asking(here, create(str(script))))
        await open_stream.until("it has begun", lambda answer: answer.of_type("thread.item.updated"))

        process.signal(signal.SIGTERM)
        await process.drains()

        async with httpx2.AsyncClient() as client:
            for _ in range(2):
                response = await client.get(f"{process.url}/readyz")
                assert_documented_error(response, 503)
                assert response.json()["error"]["code"] == "draining"
                assert int(response.headers["retry-after"]) >= 1
                assert response.headers["connection"] == "close"
        assert (await here.stream(create(str(Script())))).end == "completed"
        async with connected(process.url, HEALTH) as newcomer:
            await assert_last(newcomer)
        await kept.send(HEALTH)
        await assert_last(kept)
        await pipelined.send(HEALTH * 3)
        await assert_last(pipelined)
        await half.send(last)
        await assert_last(half)
        assert process.child.is_alive()
        assert not open_stream.closed

        process.signal(second)
        cut = await open_stream.finished()
        assert cut.end is None
        await process.has_ended()
        with pytest.raises(ConnectionRefusedError):
            await ask(process.url, CLOSING)
        open_gate(gate, 2)
        assert (await alice.resume(cut.run_id, None)).end == "completed"
    log = process.log.read_text()
    assert "request_failed" not in log, "a probe is no failure"


async def test_it_ends_by_itself_when_the_delay_is_over(system: System, tmp_path: Path) -> None:
    async with api(system, tmp_path, "1") as process:
        process.signal(signal.SIGTERM)
        await process.drains()
        answer, _ = await ask(process.url, READY)
        assert (answer.status, answer.code) == (503, "draining")
        await process.has_ended()


@pytest.mark.parametrize(("delay", "first"), [(LONG, signal.SIGINT), ("0", signal.SIGTERM)])
async def test_without_a_balancer_there_is_no_delay(
    system: System, tmp_path: Path, delay: str, first: signal.Signals
) -> None:
    """Ctrl-C is a person's, who waits."""
    async with api(system, tmp_path, delay) as process:
        process.signal(first)
        await process.has_ended()


async def test_a_request_on_a_connection_that_was_made_before_the_end_is_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy sends a request right after it has connected, and a POST that it has sent never again."""
    monkeypatch.setattr(server_module, "FRESH_SECONDS", 3600.0)
    async with AsyncExitStack() as stack:
        running_system = await stack.enter_async_context(running(settings, ScriptedAnswers, workers=0))
        url = running_system.urls[0]
        async with connected(url) as connection, connected(url) as silent:
            await ask(url, CLOSING)  # the two have been taken by now
            ending = asyncio.create_task(stack.aclose())
            await wait_until("no more connections are taken", lambda: is_closed(url))
            await connection.send(HEALTH)
            await assert_last(connection)
            assert not ending.done()
            monkeypatch.setattr(server_module, "FRESH_SECONDS", 0.0)
            await ending
            assert await silent.rest() == b"", "one that sends nothing holds nothing up"


async def is_closed(url: str) -> bool:
    try:
        async with connected(url):
            return False
    except ConnectionRefusedError:
        return True
    except ConnectionError:  # the listener was closed as the connection was made
        return False
