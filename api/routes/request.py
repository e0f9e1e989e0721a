"""What every route asks of a request: the process's resources, who is calling, and from where it resumes."""

from __future__ import annotations

from typing import cast

import structlog
from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.types import Scope

from relaykit.api.auth.authenticator import locale_of
from relaykit.api.auth.identity import Identity
from relaykit.api.http.access_log import request_id_of
from relaykit.api.http.context_headers import context_headers
from relaykit.api.http.request_trace import trace_of
from relaykit.api.resources import Resources
from relaykit.shared.identity import RequestContext
from relaykit.shared.journal import Cursor
from relaykit.shared.log import who


def resources_of(request: HTTPConnection) -> Resources:
    return cast(Resources, request.state.resources)


async def authenticated(request: HTTPConnection) -> Identity:
    """Who makes the request. Raises as RequestAuthenticator.identify does."""
    identity = await resources_of(request).authenticator.identify(request)
    structlog.contextvars.bind_contextvars(**who(identity.owner))
    if (trace := trace_of(request.scope)) is not None:
        trace.note(**{f"relaykit.{name}": value for name, value in who(identity.owner).items()})
    return identity


async def caller_context(resources: Resources, scope: Scope) -> RequestContext:
    """The verified caller of a request or WebSocket that is not ours. Raises as `authenticated` and the context do."""
    request = HTTPConnection(scope)
    identity = await authenticated(request)
    return identity.context(
        resources.settings,
        metadata={},
        headers=context_headers(request.headers, resources.settings),
        locale=locale_of(request.headers.get("accept-language")),
        request_id=request_id_of(scope),
    )


def last_event_id(request: Request) -> Cursor | None:
    """The cursor of `Last-Event-ID`; None without one, which an empty one is too. Raises InvalidCursor."""
    text = request.headers.get("last-event-id")
    return Cursor.parse(text) if text else None


def resumes(request: Request) -> bool:
    """Whether the client takes EOF without the end for "reconnect"."""
    return request.headers.get("relaykit-resume") == "1"
