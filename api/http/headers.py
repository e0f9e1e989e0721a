"""The headers that every answer of the API carries, and which other origins may read it."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relaykit.shared.settings import Settings

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
CORS_METHODS = ("GET", "POST", "PUT")
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Relaykit-Resume",
    "Relaykit-Max-Attempts",
    "chatkit-frame-instance-id",  # the stock widget's own
)
CORS_RESPONSE_HEADERS = ("X-Run-Id", "Retry-After")
CORS_MAX_AGE_SECONDS = 600


def add_http_headers(app: FastAPI, settings: Settings) -> None:
    """Adds the security headers to every answer, and CORS for CORS_ORIGINS where there are any.

    Tokens travel in Authorization, never in a cookie, so other origins are allowed without credentials.
    """
    app.add_middleware(_SecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in settings.cors_origins],
            allow_methods=CORS_METHODS,
            allow_headers=[*CORS_REQUEST_HEADERS, *settings.context_headers],
            expose_headers=CORS_RESPONSE_HEADERS,
            max_age=CORS_MAX_AGE_SECONDS,
        )


class _SecurityHeaders:
    """ASGI, so that a stream is never buffered; a header that the route has set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
