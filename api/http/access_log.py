"""The id of a request, and its one line in the log: when its answer is complete, or its stream is over."""

from __future__ import annotations

import re
import time
from typing import Final, Protocol
from uuid import uuid4

import structlog
from starlette.types import Message, Scope, Send

from relaykit.api.http.request_trace import begin_trace

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""A request's id that a client or a proxy may give: what breaks no line of a log."""
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})

_KEY: Final = "relaykit.request_id"
"""The key of the id in the ASGI scope."""

log = structlog.get_logger()


def request_id_of(scope: Scope) -> str:
    """The `X-Request-Id` that the request came with, or one of its own where that is absent or no id."""
    known = scope.get(_KEY)
    if known is None:
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        known = given.decode("ascii") if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope[_KEY] = known
    return str(known)


class Sent(Protocol):
    """A stream that is over."""

    @property
    def sent_bytes(self) -> int: ...


class Access:
    """One request, from its head to its line, and to the end of its span. What its tasks log has its id."""

    __slots__ = ("_bytes", "_method", "_request_id", "_route", "_run_id", "_started_at", "_status", "_trace")

    def __init__(self, scope: Scope) -> None:
        self._request_id = request_id_of(scope)
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        self._trace = None if scope["path"] in PROBES else begin_trace(scope)
        self._started_at = time.monotonic()
        self._method: str = scope["method"]
        self._route: str | None = None
        self._status: int | None = None
        self._run_id: str | None = None
        self._bytes = 0

    def noting(self, send: Send) -> Send:
        """The same, which notes what is answered."""

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                for name, value in message["headers"]:
                    if name == b"x-run-id":
                        self._run_id = value.decode("latin-1")
            elif message["type"] == "http.response.body":
                self._bytes += len(message.get("body", b""))
            await send(message)

        return send_and_note

    def note_route(self, scope: Scope) -> None:
        """Notes the route that has answered, by its pattern: a path may hold what no log should."""
        self._route = getattr(scope.get("route"), "path", None)

    def begin_stream(self) -> None:
        """The head is sent: what follows is relayed."""
        if self._trace is not None:
            self._trace.begin_relay()

    def log(self, stream: Sent | None = None) -> None:
        """Writes the line; a stream's says how long it was open, and what was sent on it."""
        size = self._bytes if stream is None else stream.sent_bytes
        if self._trace is not None:
            self._trace.end(
                {
                    "method": self._method,
                    "route": self._route,
                    "status": self._status,
                    "bytes": size,
                    "request_id": self._request_id,
                    "run_id": self._run_id,
                }
            )
        if self._route in PROBES and self._status == 200:
            return
        seconds = time.monotonic() - self._started_at
        log.info(
            "a request has ended",
            action="request_end",
            method=self._method,
            route=self._route,
            status=self._status,
            ms=round(1000 * seconds, 1),
            bytes=size,
            **({} if self._run_id is None else {"run_id": self._run_id}),
        )
