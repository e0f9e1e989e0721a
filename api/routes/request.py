"""What every route asks of a request: the process's resources, who is calling, and from where it resumes."""

from __future__ import annotations

from typing import cast

from fastapi import Request

from relaykit.api.auth.authenticator import Identity, sole_header
from relaykit.api.resources import Resources
from relaykit.shared.journal import Cursor


def resources_of(request: Request) -> Resources:
    return cast(Resources, request.state.resources)


async def authenticated(request: Request) -> Identity:
    """Raises Unauthenticated or IssuerUnavailable."""
    header = sole_header(request.headers.getlist("authorization"))
    return await resources_of(request).authenticator.authenticate(header)


def last_event_id(request: Request) -> Cursor | None:
    """The cursor of `Last-Event-ID`; None without one, which an empty one is too. Raises InvalidCursor."""
    text = request.headers.get("last-event-id")
    return Cursor.parse(text) if text else None


def resumes(request: Request) -> bool:
    """Whether the client takes EOF without the end for "reconnect"."""
    return request.headers.get("relaykit-resume") == "1"
