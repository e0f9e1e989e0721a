"""Is the process alive, can it work, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from relaykit.api.http.errors import error_response
from relaykit.api.openapi.responses import Json, answer, refusals
from relaykit.api.routes.request import resources_of
from relaykit.shared.errors import DatabaseUnavailable, Draining, QueueUnavailable, ServerBlocked

router = APIRouter()

_OK: Json = answer(
    "It is.", {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
)


@router.get("/healthz", responses={200: _OK, **refusals(ServerBlocked)})
async def healthz(request: Request) -> Response:
    """The process answers; raises ServerBlocked, a 503, where only a new process heals the server's code."""
    resources_of(request).server_loop.check()
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={200: _OK, **refusals(QueueUnavailable, DatabaseUnavailable, Draining)})
async def readyz(request: Request) -> Response:
    """Redis takes a write, PostgreSQL answers, and the process is not about to stop.

    Raises QueueUnavailable, DatabaseUnavailable.
    """
    if getattr(request.app.state, "draining", False):
        return error_response(Draining())  # not raised: each probe would be a warning in the log
    resources = resources_of(request)
    await resources.redis_check.ready()
    await resources.database.check()
    return JSONResponse({"status": "ok"})


@router.get("/metrics", response_class=PlainTextResponse, responses=refusals())
async def metrics() -> Response:
    """What the process counts, for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
