"""Bounds how many requests subscribe to a run at once: after a deploy or a cut, all clients come back together."""

from __future__ import annotations

import asyncio
import random

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from relaykit.api.http.errors import error_response
from relaykit.shared.errors import Overloaded

MAX_PENDING_SUBSCRIBES = 256
"""Requests on their way to a stream. More would not be faster, and each holds about 20 KB until it streams."""
MAX_WAIT_SECONDS = 10.0
RETRY_SECONDS = (1.0, 5.0)
"""`Retry-After` is between these, so that the refused clients do not come back all at once again."""


def limit_reconnects(app: FastAPI) -> None:
    """Requests for a run's events wait in the order in which they came; 503 `overloaded` when that would take long."""
    app.user_middleware.append(Middleware(ReconnectLimiter))


class ReconnectLimiter:
    """The middleware, as raw ASGI: innermost, so that an answer of its own has the headers of the others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pending = asyncio.Semaphore(MAX_PENDING_SUBSCRIBES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _subscribes(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                await self._pending.acquire()
        except TimeoutError:
            retry_seconds = random.uniform(*RETRY_SECONDS)  # noqa: S311
            await error_response(Overloaded(retry_after_seconds=retry_seconds))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._pending.release()


def _subscribes(path: str) -> bool:
    return path.startswith("/runs/") and path.endswith("/events")
