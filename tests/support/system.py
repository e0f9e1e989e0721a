"""A whole Relaykit for tests: real API and workers, in this event loop or as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from chatkit.server import ChatKitServer

from relaykit.api.http.connections import Connections
from relaykit.api.http.descriptors import connection_limit
from relaykit.api.http.server import HttpConfig, Server
from relaykit.api.main import create_app
from relaykit.shared.settings import Settings
from relaykit.worker.main import RunWorker, create_worker
from tests.support.network.ports import free_port
from tests.support.processes.forked import ForkedPopen, nothing

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 120.0
"""After which a wait fails: no bound on the product, which a busy machine makes slow."""
START_SECONDS = 240.0
"""For a process to start: importing takes seconds of CPU, which many may want at once."""
LEASE_SECONDS = 15.0
"""Of a system whose test has no other: no busy machine lets it end by itself."""


async def wait_until(
    what: str, condition: Callable[[], Awaitable[Any] | Any], timeout: float = WAIT_SECONDS
) -> Any:
    """Polls until the condition gives something true; fails naming what never came true."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never came true in {timeout} s: {what}")
        await asyncio.sleep(0.02)


def takes_messages(response: httpx2.Response) -> bool:
    """Whether this answer of /readyz says that Redis and PostgreSQL take writes; it is a 200 without them too."""
    refused = {"redis_unavailable", "database_read_only"}
    return response.status_code == 200 and refused.isdisjoint(response.json().get("warnings", ()))


async def api_answers(port: int) -> None:
    """Waits until an API process takes connections at the port."""

    def connects() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    await wait_until(f"an API takes connections at port {port}", connects, START_SECONDS)


def user_input(text: str, attachments: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    return {
        "content": [{"type": "input_text", "text": text}],
        "attachments": list(attachments),
        "inference_options": {},
        **more,
    }


def create(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "threads.create", "params": {"input": user_input(text, **more)}}


def message(thread_id: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "threads.add_user_message",
        "params": {"thread_id": thread_id, "input": user_input(text, **more)},
    }


def keyed(key: object) -> dict[str, str]:
    """A header, for a message that is to be another one: the same body without a key attaches to its first run."""
    return {"Idempotency-Key": str(key)}


@dataclass
class Answer:
    """A streaming answer as it came over the wire."""

    status: int
    headers: httpx2.Headers
    raw: bytes

    @property
    def run_id(self) -> str:
        return self.headers["x-run-id"]

    @property
    def frames(self) -> list[tuple[str, dict[str, Any]]]:
        """(cursor, event) of each event."""
        return parse_frames(self.raw)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, event in self.frames]

    @property
    def end(self) -> str | None:
        """completed, failed or cancelled; None where the stream closed without its end."""
        for line in self.raw.decode().split("\n"):
            if line.startswith(": end "):
                return line.removeprefix(": end ")
        return None

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def thread_id(self) -> str:
        return self.of_type("thread.created")[0]["thread"]["id"]

    @property
    def text(self) -> str:
        """What the deltas add up to."""
        return "".join(
            event["update"]["delta"]
            for event in self.of_type("thread.item.updated")
            if event["update"]["type"] == "assistant_message.content_part.text_delta"
        )


def parse_frames(raw: bytes) -> list[tuple[str, dict[str, Any]]]:
    frames = []
    for block in raw.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in lines:
            frames.append((lines.get("id", ""), json.loads(lines["data"])))
    return frames


@dataclass
class Caller:
    """A signed-in user of one API."""

    client: httpx2.AsyncClient
    token: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Relaykit-Resume": "1", **self.headers}

    async def post(
        self, request: dict[str, Any] | bytes, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        content = request if isinstance(request, bytes) else json.dumps(request).encode()
        return await self.client.post(
            "/chatkit", content=content, headers={**self._headers, **(headers or {})}
        )

    async def stream(self, request: dict[str, Any], headers: dict[str, str] | None = None) -> Answer:
        """Posts a streaming request and reads the answer to its end. Fails unless it is a 200 event stream."""
        response = await self.post(request, headers)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return Answer(response.status_code, response.headers, response.content)

    async def ask(self, request: dict[str, Any]) -> Any:
        """Posts a non-streaming request and gives its JSON. Fails unless it is a 200."""
        response = await self.post(request)
        assert response.status_code == 200, response.text
        return response.json()

    async def get(self, path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
        return await self.client.get(path, headers={**self._headers, **(headers or {})})

    async def cancel(self, run_id: str) -> httpx2.Response:
        return await self.client.post(f"/runs/{run_id}/cancel", headers=self._headers)

    async def withdraw(self, run_id: str) -> httpx2.Response:
        return await self.client.post(f"/runs/{run_id}/withdraw", headers=self._headers)

    async def resume(self, run_id: str, cursor: str | None) -> Answer:
        headers = {"Last-Event-ID": cursor} if cursor else {}
        response = await self.get(f"/runs/{run_id}/events", headers)
        return Answer(response.status_code, response.headers, response.content)

    @asynccontextmanager
    async def open_stream(
        self, request: dict[str, Any], headers: dict[str, str] | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A streaming request whose answer the test reads, or leaves, by itself."""
        content = json.dumps(request).encode()
        async with self.client.stream(
            "POST", "/chatkit", content=content, headers={**self._headers, **(headers or {})}
        ) as response:
            yield response

    async def items(self, thread_id: str) -> list[dict[str, Any]]:
        page = await self.ask(
            {"type": "items.list", "params": {"thread_id": thread_id, "limit": 100, "order": "asc"}}
        )
        return page["data"]


@dataclass
class System:
    """What a test talks to. `urls` holds one address for each API."""

    settings: Settings
    urls: list[str]
    stack: AsyncExitStack
    workers: list[RunWorker] = field(default_factory=list)

    async def caller(self, sub: str = "alice", tenant: str | None = None, api: int = 0) -> Caller:
        client = await self.stack.enter_async_context(
            httpx2.AsyncClient(base_url=self.urls[api], timeout=httpx2.Timeout(WAIT_SECONDS + 10))
        )
        response = await client.post("/dev/token", json={"sub": sub, "tenant": tenant, "ttl_seconds": 3600})
        assert response.status_code == 200, response.text
        return Caller(client, response.json()["access_token"])

    async def receipts(self) -> None:
        """Waits until it is noted of each run that has ended that a client received it: a moment after its end."""
        missing = "SELECT id FROM runs WHERE ended_at IS NOT NULL AND received_at IS NULL"
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            await wait_until("all is received", lambda: not connection.execute(missing).fetchall())


def make_settings(redis_url: str, database_url: str, key_file: Path, port: int, **more: Any) -> Settings:
    given: dict[str, Any] = {
        "redis_url": redis_url,
        "database_url": database_url,
        "jwks_url": f"http://127.0.0.1:{port}/dev/jwks.json",
        "database_pool_min": 1,
        "jwt_issuer": "http://127.0.0.1/dev",
        "jwt_audience": "relaykit-tests",
        "local_issuer_key_file": key_file,
        "port": port,
        "lease_seconds": LEASE_SECONDS,
        "shutdown_delay_seconds": 0,
        "drain_seconds": 2,
        "caller_requests_per_minute": 0,
        "caller_bytes_per_minute": 0,
        "caller_max_bodies": 0,
        "caller_max_runs": 0,
        "caller_max_streams": 0,
        "caller_max_unsent_attachments": 0,
        "caller_max_unsent_bytes": 0,
        **more,
    }
    return Settings(**given)


@asynccontextmanager
async def running(
    settings: Settings,
    server: Callable[[], ChatKitServer[Any]] | None = None,
    *,
    apis: int = 1,
    workers: int = 1,
) -> AsyncIterator[System]:
    """APIs and workers in this event loop, over real sockets. `server` makes an instance for each of them."""
    async with AsyncExitStack() as stack:
        system = System(settings, [], stack)
        for number in range(apis):
            port = settings.port if number == 0 else free_port()
            await stack.enter_async_context(_serving(settings, server and server(), port))
            system.urls.append(f"http://127.0.0.1:{port}")
        for _ in range(workers):
            worker = create_worker(settings, server and server())
            system.workers.append(worker)
            await stack.enter_async_context(_working(worker))
        yield system


@asynccontextmanager
async def _serving(settings: Settings, server: ChatKitServer[Any] | None, port: int) -> AsyncIterator[None]:
    app = create_app(settings, server)
    config = HttpConfig(
        app,
        Connections(settings, connection_limit(settings)),
        host="127.0.0.1",
        port=port,
        timeout_graceful_shutdown=5,
    )
    uvicorn_server = Server(config)
    task = asyncio.create_task(uvicorn_server._serve())
    await wait_until("the API has started", lambda: uvicorn_server.started or task.done())
    assert not task.done(), "the API did not start"
    try:
        yield
    finally:
        uvicorn_server.should_exit = True
        await task


@asynccontextmanager
async def _working(worker: RunWorker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
        assert not task.done(), "the worker has stopped by itself"
    finally:
        worker.drain()
        await task


@dataclass
class Process:
    """`relaykit api` or `relaykit worker`, with its output in a file."""

    popen: subprocess.Popen[bytes] | ForkedPopen
    log: Path

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def terminate(self, timeout: float = START_SECONDS) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The settings as a process's environment."""
    given = {name.upper(): _variable(value) for name, value in settings.model_dump(exclude_none=True).items()}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **given, **more}


def _variable(value: object) -> str:
    match value:
        case tuple():
            return ",".join(value)
        case dict():
            return ",".join(f"{name}={number}" for name, number in value.items())
        case _:
            return str(value)


def start_process(
    side: str, settings: Settings, log: Path, package: str = "relaykit.", **more: str
) -> Process:
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", package + side],
            cwd=ROOT,
            env=environment(settings, **more),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Process(popen, log)


def fork_process(
    side: str, settings: Settings, log: Path, prepare: Callable[[], None] = nothing, **more: str
) -> Process:
    """The same without the seconds that importing takes. `prepare` is called in the process before it begins."""
    return Process(ForkedPopen(side, environment(settings, **more), log, prepare), log)


@dataclass
class Processes(System):
    """A System of real processes."""

    api_processes: list[Process] = field(default_factory=list)
    worker_processes: list[Process] = field(default_factory=list)
    directory: Path = Path()
    start: Callable[..., Process] = fork_process

    def start_worker(self, **more: str) -> Process:
        log = self.directory / f"worker-{len(self.worker_processes)}.log"
        process = self.start("worker", self.settings, log, **more)
        self.worker_processes.append(process)
        return process

    async def start_api(self, port: int | None = None, **more: str) -> Process:
        number = len(self.api_processes)
        port = port or (self.settings.port if number == 0 else free_port())
        log = self.directory / f"api-{number}.log"
        process = self.start("api", self.settings, log, PORT=str(port), **more)
        self.api_processes.append(process)
        url = f"http://127.0.0.1:{port}"
        self.urls.append(url)
        async with httpx2.AsyncClient() as client:

            async def ready() -> bool:
                assert process.popen.poll() is None, process.output
                try:
                    return (await client.get(f"{url}/readyz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await wait_until(f"{url} is ready", ready, START_SECONDS)
        return process


@asynccontextmanager
async def running_processes(
    settings: Settings,
    directory: Path,
    *,
    apis: int = 1,
    workers: int = 1,
    start: Callable[..., Process] = fork_process,
    **more: str,
) -> AsyncIterator[Processes]:
    """API and worker processes; `more` goes into the environment of all. What is left is killed at the end."""
    async with AsyncExitStack() as stack:
        system = Processes(settings, [], stack, directory=directory, start=start)
        try:
            for _ in range(workers):
                system.start_worker(**more)
            for _ in range(apis):
                await system.start_api(**more)
            yield system
        finally:
            for process in [*system.api_processes, *system.worker_processes]:
                if process.popen.poll() is None:
                    process.kill()
