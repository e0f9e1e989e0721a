"""The lifespan of an ASGI application, as a context manager for the loop that the application runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from starlette.types import ASGIApp, Message

from relaykit.shared.errors import ServerLoadError
from relaykit.shared.log import failure
from relaykit.shared.site.attributes import describe_error
from relaykit.shared.site.lifetime import in_words_of

ASGI = {"version": "3.0", "spec_version": "2.0"}

log = structlog.get_logger()


@asynccontextmanager
async def app_lifespan(app: ASGIApp, label: str) -> AsyncIterator[dict[str, Any]]:
    """The application started, and its state; at the end it is shut down.

    One that raises before it has said anything knows no lifespan, and is served without. Raises ServerLoadError where
    the start fails; at the end what the application raises.
    """
    asked: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[str] = asyncio.Queue()
    state: dict[str, Any] = {}

    async def send(message: Message) -> None:
        if not message["type"].startswith("lifespan."):
            raise RuntimeError("the scope is a lifespan, which takes no other messages")
        said.put_nowait(message["type"])

    async def live() -> None:
        try:
            await app({"type": "lifespan", "asgi": ASGI, "state": state}, asked.get, send)
        finally:
            said.put_nowait("end")

    asked.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(live())
    try:
        with in_words_of(label):
            first = await _first_said(said, running)
            if first == "lifespan.startup.failed":
                await running  # Starlette raises what failed after saying so
                raise ServerLoadError(f"{label}: its lifespan has failed")
            is_started = first == "lifespan.startup.complete"
            error = None if is_started else await _error_of(running)
        if not is_started:
            if error is not None and not isinstance(error, Exception):
                raise ServerLoadError(f"{label}: {describe_error(error)}") from error
            log.info(
                "the site's application runs no lifespan: it is served without",
                action="app_without_lifespan",
                **({} if error is None else failure(error)),
            )
        yield state
        if is_started:
            asked.put_nowait({"type": "lifespan.shutdown"})
            await running
    finally:
        if not running.done():
            running.cancel()
            await _error_of(running)


async def _first_said(said: asyncio.Queue[str], running: asyncio.Task[None]) -> str:
    try:
        return await said.get()
    except asyncio.CancelledError:  # it has taken too long: what it raises then has the place
        running.cancel()
        await running
        raise


async def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()
