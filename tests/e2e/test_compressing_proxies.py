"""Behind a proxy that compresses, an answer comes as it is written: not as one piece at its end.

Each answer waits in its middle until the client has had the beginning. A proxy that holds that back waits for ever.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import after, body, cursors
from tests.support.network.nginx import nginx_http, nginx_main
from tests.support.processes.programs import required
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import ROOT, Caller, System, create, free_port, keyed, running, wait_until

HOLD = 3
GZIP = {"Accept-Encoding": "gzip"}
NGINX = """
{main}
events {{ worker_connections 64; }}
http {{
  {http}
  gzip on; gzip_proxied any; gzip_min_length 0; gzip_types text/event-stream application/json;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{api_port}; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
"""


def node(folder: Path, port: int, api_port: int) -> list[str]:
    if not (ROOT / "web" / "node_modules" / "compression").exists():
        assert not os.environ.get("CI"), "CI runs the tests of the proxies; run `make web`"
        pytest.skip("the browser packages are not installed (make web)")
    return [required("node"), str(ROOT / "tests/e2e/compressing_proxy.cjs"), str(port), str(api_port)]


def nginx(folder: Path, port: int, api_port: int) -> list[str]:
    text = NGINX.format(main=nginx_main(folder), http=nginx_http(folder), port=port, api_port=api_port)
    (folder / "nginx.conf").write_text(text)
    return [required("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


Command = Callable[[Path, int, int], list[str]]


@contextmanager
def proxy(command: Command, folder: Path, api_port: int) -> Iterator[str]:
    """Its address."""
    port = free_port()
    process = subprocess.Popen(command(folder, port, api_port), stdin=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    quick = settings.model_copy(update={"ping_seconds": 0.5})
    async with running(quick, ScriptedAnswers) as system:
        yield system


@asynccontextmanager
async def behind(system: System, command: Command, folder: Path) -> AsyncIterator[Caller]:
    """A caller who asks the proxy."""
    direct = await system.caller()
    with proxy(command, folder, system.settings.port) as url:
        async with httpx2.AsyncClient(base_url=url, timeout=httpx2.Timeout(30), headers=GZIP) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await wait_until("the proxy answers", answers)
            yield Caller(client, direct.token)


class Reader:
    """What has come of a stream, decoded."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._parts = response.aiter_bytes()
        self.raw = b""
        self.pieces = 0

    async def until(self, what: bytes) -> None:
        while what not in self.raw:
            self.raw += await anext(self._parts)
            self.pieces += 1


@pytest.mark.parametrize("command", [node, nginx], ids=["compression", "nginx"])
async def test_a_stream_comes_as_it_is_written(system: System, tmp_path: Path, command: Command) -> None:
    """Of a POST, of one that goes on, and of a run that is followed: events, and pings of one that is quiet."""
    gate = tmp_path / "gate"
    open_gate(gate)
    request = create(str(Script(deltas=8, gate=str(gate), holds=[HOLD])))
    async with behind(system, command, tmp_path) as alice:
        async with alice.open_stream(request, keyed("k1")) as response:
            reader = Reader(response)
            await reader.until(b"1.2 ")
            seen = len(reader.raw)
            await reader.until(b": ping")
            assert reader.raw[seen:].replace(b": ping\n\n", b"").strip() == b""
        cursor = cursors(reader.raw)[-1]
        run_id = response.headers["x-run-id"]
        headers = {**keyed("k1"), "Last-Event-ID": cursor}
        async with (
            alice.open_stream(request, headers) as again,
            alice.client.stream("GET", f"/runs/{run_id}/events", headers=alice._headers) as followed,
        ):
            going_on, from_the_start = Reader(again), Reader(followed)
            await going_on.until(b": ping")
            await from_the_start.until(b"1.2 ")
            open_gate(gate, HOLD)
            for each in (going_on, from_the_start):
                await each.until(b": end completed\n\n")
                assert each.pieces > 1
            assert body(going_on.raw) == after(body(from_the_start.raw), cursor)
        for each in (response, again, followed):
            assert each.headers["cache-control"] == "no-store, no-transform"
            # nginx, told to compress streams, does so whatever they say, and lets each piece through all the same
            assert each.headers.get("content-encoding") == ("gzip" if command is nginx else None)


async def test_the_proxy_does_compress(system: System, tmp_path: Path) -> None:
    """What no one reads piece by piece: else the test above would prove nothing."""
    async with behind(system, node, tmp_path) as alice:
        await alice.stream(create(str(Script(deltas=200))))
        listed: dict[str, Any] = {"type": "threads.list", "params": {}}
        thread_id = (await alice.ask(listed))["data"][0]["id"]
        params = {"thread_id": thread_id, "limit": 100}
        response = await alice.post({"type": "items.list", "params": params})
        assert response.headers["content-encoding"] == "gzip"
