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


_READY: Json = answer(
    "It is ready. `warnings` is there where an operator has to look at something: `no_worker`, no worker takes runs; "
    "`redis_unavailable`, no API reaches Redis; `database_read_only`, PostgreSQL takes no writes. Threads can be read.",
    {
        "type": "object",
        "properties": {
            "status": {"const": "ok"},
            "warnings": {
                "type": "array",
                "items": {"enum": ["redis_unavailable", "database_read_only", "no_worker"]},
            },
        },
        "required": ["status"],
    },
)


@router.get("/readyz", responses={200: _READY, **refusals(QueueUnavailable, DatabaseUnavailable, Draining)})
async def readyz(request: Request) -> Response:
    """PostgreSQL answers, the process is not about to stop, and it reaches Redis, or no other API does.

    Raises QueueUnavailable where another API reaches Redis, DatabaseUnavailable.
    """
    if getattr(request.app.state, "draining", False):
        return error_response(Draining())  # not raised: each probe would be a warning in the log
    resources = resources_of(request)
    reaches_redis = await resources.redis_reach.check()
    await resources.database.check()
    state = resources.queue_watch.state
    warnings = {
        "redis_unavailable": not reaches_redis,
        "database_read_only": resources.database.is_read_only,
        "no_worker": state is not None and state.claiming == 0,
    }
    told = [name for name, is_so in warnings.items() if is_so]
    return JSONResponse({"status": "ok", **({"warnings": told} if told else {})})


@router.get("/metrics", response_class=PlainTextResponse, responses=refusals())
async def metrics() -> Response:
    """What the process counts, for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
