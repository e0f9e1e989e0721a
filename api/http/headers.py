"""The headers that every answer of the API carries, and which other origins may read it."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relaykit.api.http.access_log import request_id_of
from relaykit.api.http.request_trace import trace_of
from relaykit.shared.settings import Settings

SECURITY_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
OPS_API_PREFIX = "/ops/api"
CORS_METHODS = ("GET", "POST", "PUT")
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Relaykit-Resume",
    "Relaykit-Max-Attempts",
    "X-Request-Id",
    "traceparent",
    "tracestate",
    "chatkit-frame-instance-id",  # the stock widget's own
)
CORS_RESPONSE_HEADERS = ("X-Run-Id", "X-Request-Id", "Retry-After", "traceparent")
CORS_MAX_AGE_SECONDS = 600


def add_http_headers(app: FastAPI, settings: Settings) -> None:
    """Adds the security headers to every answer, and CORS for CORS_ORIGINS where there are any.

    Their pages may send cookies only where a caller may be known by those; otherwise a token travels in Authorization.
    """
    if settings.ops_claim is not None:
        app.add_middleware(_NothingKept, prefix=OPS_API_PREFIX)
    app.add_middleware(_SecurityHeaders)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=CORS_METHODS,
            allow_credentials=settings.takes_cookies,
            allow_headers=[*CORS_REQUEST_HEADERS, *settings.context_headers],
            expose_headers=CORS_RESPONSE_HEADERS,
            max_age=CORS_MAX_AGE_SECONDS,
        )


class _NothingKept:
    """No cache keeps an answer below the prefix, an error as little as any other."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            await self._app(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_with_header)


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
                headers.setdefault("X-Request-Id", request_id_of(scope))
                if (trace := trace_of(scope)) is not None:
                    headers.setdefault("traceparent", trace.traceparent)
            await send(message)

        await self._app(scope, receive, send_with_headers)
