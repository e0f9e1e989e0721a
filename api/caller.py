"""What every route asks of a request: the process's resources, who is calling, and whether it can resume."""

from __future__ import annotations

from typing import cast

from fastapi import Request

from api.authentication import Identity, sole_header
from api.resources import Resources


def resources_of(request: Request) -> Resources:
    return cast(Resources, request.state.resources)


async def authenticated(request: Request) -> Identity:
    """Raises Unauthenticated or IssuerUnavailable."""
    header = sole_header(request.headers.getlist("authorization"))
    return await resources_of(request).authenticator.authenticate(header)


def resumes(request: Request) -> bool:
    """Whether the client takes EOF without the end for "reconnect"."""
    return request.headers.get("relaykit-resume") == "1"
