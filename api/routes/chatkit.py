"""POST /chatkit: the ChatKit protocol. Streaming requests become runs; `relaykit.api.unstreamed` answers the others."""

from __future__ import annotations

import re

from chatkit.types import (
    StreamingReq,
    is_streaming_req,
)
from fastapi import APIRouter, Request
from starlette.responses import Response

from relaykit.api.admission.idempotency import request_hash
from relaykit.api.admission.parse import ParsedRequest, parse
from relaykit.api.admission.submission import Submission
from relaykit.api.auth.authenticator import locale_of
from relaykit.api.auth.identity import Identity
from relaykit.api.http.access_log import request_id_of
from relaykit.api.http.context_headers import context_headers
from relaykit.api.limits.caller_limits import CountedRequest
from relaykit.api.limits.request_body import read_body
from relaykit.api.openapi.chatkit import CHATKIT
from relaykit.api.resources import Resources
from relaykit.api.routes.request import authenticated, last_event_id, resources_of
from relaykit.api.routes.streaming import relay
from relaykit.shared.errors import (
    InvalidIdempotencyKey,
    InvalidRequest,
)
from relaykit.shared.identity import RequestContext
from relaykit.shared.journal import START
from relaykit.shared.runs.run import new_run_id
from relaykit.shared.tracing.spans import span

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_ATTEMPTS = re.compile(r"[1-9][0-9]?", re.ASCII)

router = APIRouter()


@router.post("/chatkit", **CHATKIT)
async def chatkit(request: Request) -> Response:
    """Answers JSON, or the events of the run that the request became."""
    resources = resources_of(request)
    identity = await authenticated(request)
    async with resources.limits.counted(identity) as counted:
        body = await read_body(request, resources.limits, identity, resources.settings.max_body_bytes)
        parsed = parse(body, resources.settings)
        if is_streaming_req(parsed.request):
            return await _stream(request, resources, identity, parsed, parsed.request, body, counted)
        context = _context(request, resources, identity, parsed, run_id=None)
        answer = await resources.unstreamed.answer(parsed.request, context)
        return Response(answer, media_type="application/json")


async def _stream(
    request: Request,
    resources: Resources,
    identity: Identity,
    parsed: ParsedRequest,
    streaming: StreamingReq,
    body: bytes,
    counted: CountedRequest,
) -> Response:
    run_id = new_run_id()
    cursor = last_event_id(request)
    box = resources.token_box
    key = _idempotency_key(request)
    submission = Submission(
        request=streaming,
        context=_context(request, resources, identity, parsed, run_id=run_id),
        request_hash=request_hash(body, key),
        idempotency_key=key,
        token=box.seal(run_id, identity.token)
        if resources.settings.forward_token and box and identity.token
        else None,
        max_attempts=_max_attempts(request),
        queue_refusal=await counted.queue_refusal(),
        place=counted.place,
        call_id=parsed.call_id,
    )
    reservation = resources.limits.stream(identity)
    try:
        admission = resources.admission
        with span("admission"):
            submitted = await (
                admission.submit(submission) if cursor is None else admission.resume(submission, cursor)
            )
    except BaseException:
        reservation.release()
        raise
    counted.is_queued = submitted.is_queued
    return relay(
        request, resources, identity, submitted.run, cursor or START, reservation, written=submitted.events
    )


def _context(
    request: Request, resources: Resources, identity: Identity, parsed: ParsedRequest, *, run_id: str | None
) -> RequestContext:
    return identity.context(
        resources.settings,
        metadata=parsed.metadata,
        headers=context_headers(request.headers, resources.settings),
        locale=locale_of(request.headers.get("accept-language")),
        request_id=request_id_of(request.scope),
        run_id=run_id,
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    return key


def _max_attempts(request: Request) -> int | None:
    """`Relaykit-Max-Attempts: 1` asks that the run be not executed again; a number above the setting's does nothing."""
    text = request.headers.get("relaykit-max-attempts")
    if text is None:
        return None
    if not _MAX_ATTEMPTS.fullmatch(text):
        raise InvalidRequest(locations=["Relaykit-Max-Attempts: a number from 1 to 99"])
    return int(text)
