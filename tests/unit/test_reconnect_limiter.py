"""The limiter of reconnects: in the order of coming, not without limit, and only on the way to a stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from relaykit.api.http.reconnect_limiter import limit_reconnects
from tests.support.system import WAIT_SECONDS, wait_until


class Slow:
    """An API whose routes answer when they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = asyncio.Event()
        self.app = FastAPI()
        self.app.add_api_route("/runs/{run_id}/events", self._answer)
        self.app.add_api_route("/runs/{run_id}", self._answer)
        limit_reconnects(self.app)

    async def _answer(self, request: Request) -> Response:
        self.begun.append(request.url.path)
        await self.go.wait()
        return PlainTextResponse("")

    async def get(self, path: str) -> tuple[int, dict[bytes, bytes]]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])


async def test_who_comes_first_is_served_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relaykit.api.http.reconnect_limiter.MAX_PENDING_SUBSCRIBES", 1)
    api = Slow()
    paths = [f"/runs/{number}/events" for number in range(4)]
    asking = []
    for path in paths:
        asking.append(asyncio.create_task(api.get(path)))
        await asyncio.sleep(0)
    await wait_until("one has begun", lambda: api.begun)
    assert api.begun == paths[:1]
    api.go.set()
    async with asyncio.timeout(WAIT_SECONDS):
        answers = await asyncio.gather(*asking)
    assert ([status for status, _ in answers], api.begun) == ([200] * 4, paths)


async def test_who_would_wait_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relaykit.api.http.reconnect_limiter.MAX_PENDING_SUBSCRIBES", 1)
    monkeypatch.setattr("relaykit.api.http.reconnect_limiter.MAX_WAIT_SECONDS", 0.05)
    api = Slow()
    first = asyncio.create_task(api.get("/runs/1/events"))
    await wait_until("it has begun", lambda: api.begun)
    status, headers = await api.get("/runs/2/events")
    assert (status, 1 <= int(headers[b"retry-after"]) <= 5) == (503, True)
    api.go.set()
    assert (await first)[0] == 200
    assert (await api.get("/runs/2/events"))[0] == 200  # the client that gave up holds no place


async def test_nothing_else_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relaykit.api.http.reconnect_limiter.MAX_PENDING_SUBSCRIBES", 1)
    api = Slow()
    streams = asyncio.create_task(api.get("/runs/1/events"))
    await wait_until("it has begun", lambda: api.begun)
    other = asyncio.create_task(api.get("/runs/1"))
    await wait_until("the other has begun", lambda: "/runs/1" in api.begun)
    api.go.set()
    await asyncio.gather(streams, other)
