"""Is the process alive, can it work, how is it doing."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.caller import resources_of
from api.openapi import Json, answer, refusals
from shared.errors import DatabaseUnavailable, QueueUnavailable

router = APIRouter()

_OK: Json = answer(
    "It is.", {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
)


@router.get("/healthz", responses={200: _OK, **refusals()})
async def healthz() -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", responses={200: _OK, **refusals(QueueUnavailable, DatabaseUnavailable)})
async def readyz(request: Request) -> Response:
    """Redis takes a write and PostgreSQL answers; raises QueueUnavailable or DatabaseUnavailable, a 503."""
    resources = resources_of(request)
    await resources.redis_check.ready()
    await resources.database.check()
    return JSONResponse({"status": "ok"})


@router.get("/metrics", response_class=PlainTextResponse, responses=refusals())
async def metrics() -> Response:
    """What the process counts, for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
