"""Clients of a stream that read in the background, and the pieces of what they read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2

from tests.support.system import WAIT_SECONDS, Answer, Caller, System, parse_frames, wait_until

PING = b": ping\n\n"
RETRY = re.compile(rb"retry: [0-9]+\n\n")


def body(raw: bytes) -> bytes:
    """The stream without its leading `retry:` and without its heartbeats: what a cursor decides."""
    first = RETRY.match(raw)
    assert first, raw[:100]
    return raw[first.end() :].replace(PING, b"")


def cursors(raw: bytes) -> list[str]:
    return [cursor for cursor, _ in parse_frames(raw)]


def after(whole: bytes, cursor: str) -> bytes:
    """What is left of a body after the frame with this cursor."""
    _, found, rest = whole.partition(f"id: {cursor}\n".encode())
    assert found, f"no frame {cursor}"
    return rest.partition(b"\n\n")[2]


class Follower:
    """One open stream. `raw` grows while the connection lives."""

    def __init__(self) -> None:
        self.raw = b""
        self.response: httpx2.Response | None = None
        self._task: asyncio.Task[None] | None = None

    async def read(self, client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> None:
        async with client.stream(method, path, **more) as response:
            self.response = response
            async for part in response.aiter_raw():
                self.raw += part

    def start(self, *arguments: Any, **more: Any) -> None:
        self._task = asyncio.create_task(self.read(*arguments, **more))

    async def leave(self) -> None:
        """Drops the connection, if the stream has not closed."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def closed(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def answer(self) -> Answer:
        """What has come so far; while the stream is open, without the frame that is not whole yet."""
        assert self.response is not None
        raw = self.raw if self.closed else self.raw[: self.raw.rfind(b"\n\n") + 2]
        return Answer(self.response.status_code, self.response.headers, raw)

    @property
    def run_id(self) -> str:
        return self.answer.run_id

    @property
    def body(self) -> bytes:
        return body(self.raw)

    async def until(self, what: str, condition: Callable[[Answer], Any]) -> Any:
        """Waits until what was read fulfils the condition; fails when the stream closes before."""

        def fulfilled() -> Any:
            value = self.response is not None and condition(self.answer)
            assert value or not self.closed, f"the stream closed before: {what}\n{self._failure()}"
            return value

        return await wait_until(what, fulfilled)

    async def finished(self) -> Answer:
        """Waits until the stream closes."""
        assert self._task is not None
        async with asyncio.timeout(WAIT_SECONDS):
            await self._task
        return self.answer

    def _failure(self) -> str:
        error = self._task.exception() if self._task is not None and not self._task.cancelled() else None
        return f"{error!r} after {self.raw[-300:]!r}"


@asynccontextmanager
async def following(
    caller: Caller, run_id: str, cursor: str | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[Follower]:
    """GET /runs/{id}/events in the background; the connection is dropped after the block."""
    more = {"Last-Event-ID": cursor} if cursor else {}
    follower = Follower()
    follower.start(
        caller.client,
        "GET",
        f"/runs/{run_id}/events",
        headers={**caller._headers, **more, **(headers or {})},
    )
    try:
        yield follower
    finally:
        await follower.leave()


@asynccontextmanager
async def asking(
    caller: Caller, request: dict[str, Any], headers: dict[str, str] | None = None
) -> AsyncIterator[Follower]:
    """A streaming POST /chatkit in the background; the connection is dropped after the block."""
    follower = Follower()
    follower.start(
        caller.client, "POST", "/chatkit", json=request, headers={**caller._headers, **(headers or {})}
    )
    try:
        yield follower
    finally:
        await follower.leave()


async def crowd(system: System, caller: Caller, api: int = 0) -> Caller:
    """The same user with a client that opens as many connections as it is asked for."""
    client = httpx2.AsyncClient(
        base_url=system.urls[api],
        timeout=httpx2.Timeout(WAIT_SECONDS + 10),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
    )
    return replace(caller, client=await system.stack.enter_async_context(client))
