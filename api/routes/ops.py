"""The console's API, where OPS_CLAIM is set: what the operators' commands show and do, for callers with that claim.

It sees and changes what is every owner's, so each route asks for an operator before anything else.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from relaykit.api.admission.retry import retry_noted
from relaykit.api.auth.identity import Identity
from relaykit.api.http.json_body import parsed_body
from relaykit.api.limits.request_body import read_body
from relaykit.api.openapi import ops as described
from relaykit.api.ops.console import Console
from relaykit.api.ops.operator_check import actor
from relaykit.api.ops.queries import content_asked, entries_asked, nothing_asked, run_filter
from relaykit.api.resources import Resources
from relaykit.api.routes.request import authenticated, resources_of
from relaykit.shared.errors import RunNotFound
from relaykit.shared.journal import START, Cursor

MAX_ID_CHARS = 512
MAX_ACT_BYTES = 1024

router = APIRouter(prefix="/ops/api")


class Answer(JSONResponse):
    """In ASCII, because a text in Redis may have half a character, which UTF-8 has not."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class HowToRequeue(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    force: bool = False


@router.get("/caller", **described.CALLER)
async def caller(request: Request) -> Response:
    """Who asks, and what the console shows it."""
    console, identity = await _operator(request)
    nothing_asked(request.query_params)
    content = console.check.sees_content(identity)
    return Answer({"tenant": identity.tenant or "", "user": identity.user_id, "content": content})


@router.get("/overview", **described.OVERVIEW)
async def overview(request: Request) -> Response:
    """Everything at a glance, as `relaykit status` has it."""
    console, _ = await _operator(request)
    nothing_asked(request.query_params)
    return Answer(await console.overview(resources_of(request).queue_watch.state))


@router.get("/queue", **described.QUEUE)
async def queue(request: Request) -> Response:
    """The queue's figures, and whose runs it has."""
    console, _ = await _operator(request)
    nothing_asked(request.query_params)
    return Answer(await console.queue(resources_of(request).queue_watch.state))


@router.get("/workers", **described.WORKERS)
async def workers(request: Request) -> Response:
    """The workers that are there."""
    console, _ = await _operator(request)
    nothing_asked(request.query_params)
    return Answer(await console.workers())


@router.get("/runs", **described.RUNS)
async def runs(request: Request) -> Response:
    """Runs of every owner, newest first."""
    console, _ = await _operator(request)
    wanted, limit = run_filter(request.query_params)
    return await _shown(console, lambda: console.runs(wanted, limit))


@router.get("/runs/{run_id}", **described.RUN)
async def run(run_id: str, request: Request) -> Response:
    """All that is known of a run; what was written in it for callers with the second claim alone."""
    console, identity = await _operator(request)
    content = content_asked(request.query_params)
    if content:
        console.check.check_content(identity)
    run_id = _run_id(run_id)
    return await _shown(console, lambda: console.run(run_id, content=content))


@router.get("/runs/{run_id}/events", **described.EVENTS)
async def events(run_id: str, request: Request) -> Response:
    """A page of the run's journal."""
    console, identity = await _operator(request)
    after, limit, content = entries_asked(request.query_params)
    if content:
        console.check.check_content(identity)
    cursor = START if after is None else Cursor.parse(after)
    run_id = _run_id(run_id)
    return await _shown(console, lambda: console.events(run_id, cursor, limit, content=content))


@router.post("/runs/{run_id}/cancel", **described.CANCEL)
async def cancel(run_id: str, request: Request) -> Response:
    """Stops a run that has not ended."""
    console, identity = await _operator(request)
    run_id = _run_id(run_id)
    return await _done(console, run_id, lambda: console.acts.cancel(run_id, actor(identity)))


@router.post("/runs/{run_id}/requeue", **described.REQUEUE)
async def requeue(run_id: str, request: Request) -> Response:
    """Gives a queued run, or one whose worker is lost, its job now; with `force` also one that a worker holds."""
    console, identity = await _operator(request)
    how = await _how_to_requeue(request, identity)
    run_id = _run_id(run_id)
    return await _done(
        console, run_id, lambda: console.acts.requeue(run_id, actor(identity), force=how.force)
    )


@router.post("/runs/{run_id}/retry", **described.RETRY)
async def retry(run_id: str, request: Request) -> Response:
    """Answers the message of an ended run again, by a new run.

    It is admitted as a POST of its user's would be: the site's code is called on its own loop, with its own bounds.
    """
    console, identity = await _operator(request)
    resources, run_id = resources_of(request), _run_id(run_id)
    sources = console.sources
    try:
        made, is_new, outcome = await retry_noted(
            sources.audit, sources.reader, resources.admission, run_id, actor(identity)
        )
    finally:
        console.note_act()
    has_token = not (is_new and resources.settings.forward_token)
    return Answer(
        {"target": run_id, "outcome": outcome, "run_id": made.id, "is_new": is_new, "has_token": has_token}
    )


@router.post("/workers/{worker_id}/drain", **described.DRAIN)
async def drain(worker_id: str, request: Request) -> Response:
    """Has a worker claim nothing more, and end."""
    console, identity = await _operator(request)
    return await _done(console, worker_id, lambda: console.acts.drain(worker_id, actor(identity)))


async def _operator(request: Request) -> tuple[Console, Identity]:
    """Raises CrossSiteRequest, what `authenticated` raises, Forbidden, RateLimited."""
    resources: Resources = resources_of(request)
    console = resources.console
    assert console is not None, "the routes are there where the console is"
    console.check.check_origin(request.headers)
    identity = await authenticated(request)
    console.check.check(identity)
    await resources.limits.count(identity)
    return console, identity


async def _shown(console: Console, ask: Callable[[], Awaitable[dict[str, Any]]]) -> Response:
    async with console.limited_read():
        return Answer(await ask())


async def _done(console: Console, target: str, act: Callable[[], Awaitable[str]]) -> Response:
    """Not limited, because a worker may take a lease's time to answer."""
    try:
        outcome = await act()
    finally:
        console.note_act()
    return Answer({"target": target, "outcome": outcome})


async def _how_to_requeue(request: Request, identity: Identity) -> HowToRequeue:
    """Raises InvalidJson, InvalidRequest, and what `read_body` raises."""
    body = await read_body(request, resources_of(request).limits, identity, MAX_ACT_BYTES)
    return parsed_body(body, HowToRequeue) if body else HowToRequeue()


def _run_id(text: str) -> str:
    if "\x00" in text or len(text) > MAX_ID_CHARS:
        raise RunNotFound
    return text
