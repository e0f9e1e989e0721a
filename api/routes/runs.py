"""Runs over HTTP: follow, look, stop."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from relaykit.api.auth.identity import Identity
from relaykit.api.openapi.runs import ACTIVE, CANCEL, FOLLOW, MARKS, SHOW, WITHDRAW
from relaykit.api.resources import Resources
from relaykit.api.routes.request import authenticated, last_event_id, resources_of
from relaykit.api.routes.streaming import relay
from relaykit.shared.errors import InvalidRequest, RunNotFound
from relaykit.shared.journal import START, Cursor
from relaykit.shared.runs.run import Run

router = APIRouter()

MAX_ID_CHARS = 512


@router.get("/runs/{run_id}/events", **FOLLOW)
async def follow_run(run_id: str, request: Request) -> Response:
    """The run's events after the cursor of `Last-Event-ID`, or of `?after=`; from the start without one."""
    resources = resources_of(request)
    identity = await authenticated(request)
    cursor = _cursor(request)
    run = await _own_run(resources, identity, run_id)
    return relay(request, resources, identity, run, cursor, resources.limits.stream(identity))


@router.get("/runs/{run_id}", **SHOW)
async def show_run(run_id: str, request: Request) -> Response:
    """The run's status."""
    resources = resources_of(request)
    return JSONResponse(_shown(await _own_run(resources, await authenticated(request), run_id)))


@router.post("/runs/{run_id}/cancel", **CANCEL)
async def cancel_run(run_id: str, request: Request) -> Response:
    """The user's stop: from any host, before, during and after pick-up; repeating it does no harm."""
    resources = resources_of(request)
    run = await _own_run(resources, await authenticated(request), run_id)
    status = await resources.endings.cancel(run)
    return JSONResponse({"id": run.id, "status": status.value}, status_code=202)


@router.post("/runs/{run_id}/withdraw", **WITHDRAW)
async def withdraw_run(run_id: str, request: Request) -> Response:
    """Takes a message back that waits for its turn; what has begun is not touched."""
    resources = resources_of(request)
    run = await _own_run(resources, await authenticated(request), run_id)
    is_withdrawn = await resources.withdrawals.withdraw(run)
    run = await resources.runs.get(run.owner, run.id)
    return JSONResponse({"id": run.id, "status": run.status.value, "withdrawn": is_withdrawn})


@router.get("/threads/{thread_id}/run", **ACTIVE)
async def thread_run(thread_id: str, request: Request) -> Response:
    """The thread's active run, or the ended one whose call it awaits, else 204; whether it exists is not told."""
    resources = resources_of(request)
    identity = await authenticated(request)
    _check_thread_id(thread_id)
    run = await resources.runs.active(identity.owner, thread_id)
    if run is None:
        return Response(status_code=204)
    if run.awaited is None:
        return JSONResponse(_shown(run))
    awaits = {"item_id": run.awaited.item_id, "seconds_left": run.awaited.seconds_left}
    return JSONResponse({**_shown(run), "awaits": awaits})


@router.get("/threads/{thread_id}/marks", **MARKS)
async def thread_marks(thread_id: str, request: Request) -> Response:
    """What a page marks in the thread after a reload; whether the thread exists is not told."""
    resources = resources_of(request)
    identity = await authenticated(request)
    _check_thread_id(thread_id)
    return JSONResponse(await resources.marks.of(identity.owner, thread_id))


def _check_thread_id(thread_id: str) -> None:
    if "\x00" in thread_id or len(thread_id) > MAX_ID_CHARS:
        raise InvalidRequest(locations=["thread_id: not an id"])


def _cursor(request: Request) -> Cursor:
    cursor, after = last_event_id(request), request.query_params.get("after")
    return cursor or (Cursor.parse(after) if after else START)


async def _own_run(resources: Resources, identity: Identity, run_id: str) -> Run:
    if "\x00" in run_id or len(run_id) > MAX_ID_CHARS:
        raise RunNotFound
    return await resources.runs.get(identity.owner, run_id)


def _shown(run: Run) -> dict[str, object]:
    return {
        "id": run.id,
        "thread_id": run.thread_id,
        "kind": run.kind.value,
        "status": run.status.value,
        "attempt": run.attempt,
        "error": run.error,
    }
