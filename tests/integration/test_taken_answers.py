"""What the process knows of how much of an answer its client has taken: over real sockets, without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from relaykit.api.http.connections import Connections
from relaykit.api.http.descriptors import connection_limit
from relaykit.api.http.server import HttpConfig, Server
from relaykit.shared.settings import Settings
from tests.support.clients.http_bytes import RawConnection, connected
from tests.support.system import free_port, wait_until

MEGABYTE = 1024 * 1024
BODY = b"x" * 12 * MEGABYTE
STEP = 512 * 1024
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class OneAnswer(FastAPI):
    """Answers each request with one body, and notes when it is told that the exchange is over."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        headers = [(b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})
        while (await receive())["type"] != "http.disconnect":
            pass
        self.over.set()


@asynccontextmanager
async def serving(settings: Settings, app: FastAPI) -> AsyncIterator[tuple[Server, str]]:
    port = free_port()
    server = Server(
        HttpConfig(
            app,
            Connections(settings, connection_limit(settings)),
            host="127.0.0.1",
            port=port,
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server._serve())
    await wait_until("the server has started", lambda: server.started or task.done())
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


async def take(connection: RawConnection, count: int) -> None:
    await connection.reader.readexactly(count)


def unsent(server: Server) -> int:
    return sum(connection.unsent_bytes for connection in server.config.connections.unsent)


@pytest.fixture
def patient(settings: Settings) -> Settings:
    return settings.model_copy(update={"stall_seconds": 600.0})


async def test_each_half_megabyte_that_a_client_takes_is_seen(patient: Settings) -> None:
    """So that one that reads slowly is told from one that does not read."""
    async with serving(patient, OneAnswer(BODY)) as (server, url), connected(url, HEAD, limit=1024) as client:
        await wait_until("the kernel takes no more", lambda: unsent(server) > 0)
        for _ in range(8):
            before = unsent(server)
            await take(client, STEP)
            await wait_until("some of it has left", lambda before=before: unsent(server) < before)


@pytest.mark.parametrize("ends", ["taken", "gone"])
async def test_an_exchange_is_over_when_its_answer_is_taken_or_the_connection_gone(
    patient: Settings, ends: str
) -> None:
    """Not when it is written: whatever limit an application holds for it is held until then."""
    app = OneAnswer(BODY)
    async with serving(patient, app) as (server, url), connected(url, HEAD, limit=1024) as client:
        await wait_until("the answer is written", lambda: unsent(server) > 0)
        for _ in range(4):
            await take(client, STEP)
            assert not app.over.is_set()
        if ends == "gone":
            client.writer.transport.abort()
        async with asyncio.timeout(20):
            while ends == "taken" and not app.over.is_set():
                await client.reader.read(STEP)
            await app.over.wait()
        assert unsent(server) == 0


async def test_an_exchange_whose_answer_fits_is_over_at_once(patient: Settings) -> None:
    app: Any = OneAnswer(b"{}")
    async with serving(patient, app) as (_, url), connected(url, HEAD) as client:
        assert (await client.answer()).body == b"{}"
        async with asyncio.timeout(20):
            await app.over.wait()
