"""POST /chatkit: the ChatKit protocol. Non-streaming requests are answered here, streaming ones become runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError
from chatkit.types import (
    AttachmentsCreateReq,
    AttachmentsDeleteReq,
    ItemFeedbackParams,
    ItemsFeedbackReq,
    ItemsListParams,
    ItemsListReq,
    NonStreamingReq,
    StreamingReq,
    ThreadsDeleteReq,
    ThreadsListReq,
    ThreadsSyncCustomActionReq,
    is_streaming_req,
)
from fastapi import APIRouter, Request
from starlette.responses import Response

from relaykit.api.admission.parse import ListByUseParams, ParsedRequest, parse
from relaykit.api.admission.submission import Submission
from relaykit.api.auth.authenticator import locale_of
from relaykit.api.auth.identity import Identity
from relaykit.api.http.access_log import request_id_of
from relaykit.api.http.context_headers import context_headers
from relaykit.api.limits.caller_limits import Counted
from relaykit.api.limits.request_body import read_body
from relaykit.api.openapi.chatkit import CHATKIT
from relaykit.api.resources import Resources
from relaykit.api.routes.request import authenticated, last_event_id, resources_of
from relaykit.api.routes.streaming import relay
from relaykit.api.routes.thread_list import list_by_use, lists_by_use
from relaykit.api.site.server_code import reaches_code
from relaykit.shared.errors import (
    AttachmentInUse,
    AttachmentNotFound,
    InvalidIdempotencyKey,
    InvalidRequest,
    ItemMismatch,
    ItemNotFound,
    NotSupported,
    QueueUnavailable,
    ThreadNotFound,
)
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.journal import START
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import new_run_id
from relaykit.shared.site.checks import overrides
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tracing.spans import span

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEYLESS = b"keyless\x00"
_MAX_ATTEMPTS = re.compile(r"[1-9][0-9]?", re.ASCII)
_NOT_A_WIDGET = "threads.sync_custom_action requires a widget sender item"

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
        with acting_as(context):
            answer = await _answer(resources, parsed.request, context)
        return Response(answer, media_type="application/json")


async def _stream(
    request: Request,
    resources: Resources,
    identity: Identity,
    parsed: ParsedRequest,
    streaming: StreamingReq,
    body: bytes,
    counted: Counted,
) -> Response:
    run_id = new_run_id()
    cursor = last_event_id(request)
    box = resources.token_box
    key = _idempotency_key(request)
    submission = Submission(
        request=streaming,
        context=_context(request, resources, identity, parsed, run_id=run_id),
        request_hash=_request_hash(body, key),
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


async def _answer(resources: Resources, request: NonStreamingReq, context: RequestContext) -> bytes:
    user, server = resources.user, resources.user.server
    if isinstance(request, (AttachmentsCreateReq, AttachmentsDeleteReq)) and not _stores_attachments(server):
        raise NotSupported("The server stores no attachments.")
    made = await user.context(context)
    if isinstance(request, ThreadsDeleteReq):
        await _stop_runs(resources, request.params.thread_id, context)
    try:
        with server_refusals():
            async with _one_action_at_a_time(resources, request, context):
                answer = await user.run(
                    lambda: _process(user, request, made), reaches_code=reaches_code(user, request)
                )
    except NotFoundError as error:
        await _note_gone(resources, request, context)  # where the answer to the first request was lost
        raise _not_found(request) from error
    except NotImplementedError as error:
        raise NotSupported from error
    except ValueError as error:
        if isinstance(request, ThreadsSyncCustomActionReq) and error.args == (_NOT_A_WIDGET,):
            raise ItemMismatch("The sender of the action is not a widget.") from error
        raise
    await _note_gone(resources, request, context)
    return answer


async def _note_gone(resources: Resources, request: NonStreamingReq, context: RequestContext) -> None:
    """The journals of a thread that is gone from a store of the site's own go too; ours notes it itself."""
    if isinstance(request, ThreadsDeleteReq) and not resources.user.is_store_ours:
        await resources.runs.note_gone(context.owner, request.params.thread_id)


async def _process(user: UserServer, request: NonStreamingReq, context: Any) -> bytes:
    match request:
        case ItemsFeedbackReq():
            await _check_items(user, request.params, context)
        case AttachmentsDeleteReq():
            await _check_unsent(user, request.params.attachment_id, context)
        case ThreadsListReq(params=ListByUseParams() as params) if lists_by_use(user):
            return await list_by_use(user, params, context)
        case _:
            pass
    return await user.server._process_non_streaming(request, context)


def _stores_attachments(server: ChatKitServer[Any]) -> bool:
    return server.attachment_store is not None or overrides(server, "_get_attachment_store")


async def _check_items(user: UserServer, given: ItemFeedbackParams, context: Any) -> None:
    """The SDK hands these ids to the user's own code without a look at whose they are."""
    await user.server.store.load_thread(given.thread_id, context)
    if not await user.extras.has_items(given.thread_id, given.item_ids, context):
        raise ItemNotFound


async def _check_unsent(user: UserServer, attachment_id: str, context: Any) -> None:
    """The SDK has the attachment store delete the bytes before it asks our store."""
    if await user.extras.is_attachment_sent(attachment_id, context):
        raise AttachmentInUse


@asynccontextmanager
async def _one_action_at_a_time(
    resources: Resources, request: NonStreamingReq, context: RequestContext
) -> AsyncIterator[None]:
    """Two clicks on one widget would each load it, change it and write it: one of them would be lost.

    Where Redis is away, or the one before takes very long, the next does not wait for it.
    """
    async with AsyncExitStack() as stack:
        if isinstance(request, ThreadsSyncCustomActionReq) and request.params.item_id:
            lock = resources.queue.widget_lock(
                context.owner, request.params.thread_id, request.params.item_id
            )
            with suppress(QueueUnavailable):
                await stack.enter_async_context(lock)
        yield


async def _stop_runs(resources: Resources, thread_id: str, context: RequestContext) -> None:
    """Nothing of a thread goes on once it is deleted."""
    for run in await resources.runs.unfinished(context.owner, thread_id):
        await resources.endings.cancel(run)
    await resources.endings.end_wait(context.owner, thread_id, GivenUp.STOPPED)


def _not_found(request: NonStreamingReq) -> ThreadNotFound | ItemNotFound | AttachmentNotFound:
    match request:
        case AttachmentsDeleteReq():
            return AttachmentNotFound()
        case ThreadsSyncCustomActionReq() | ItemsListReq(params=ItemsListParams(after=str())):
            return ItemNotFound("There is no such thread, or no such item in it.")
        case _:
            return ThreadNotFound()


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


def _request_hash(body: bytes, key: str | None) -> bytes:
    """The hash of a keyless request differs from that of a keyed one.

    A keyless request finds the run that the same body has made already, but no run of an API that does not note what
    its clients have received, because such an API hashes the body alone.
    """
    digest = hashlib.sha256(b"" if key is not None else _KEYLESS)
    digest.update(body)
    return digest.digest()


def _max_attempts(request: Request) -> int | None:
    """`Relaykit-Max-Attempts: 1` asks that the run be not executed again; a number above the setting's does nothing."""
    text = request.headers.get("relaykit-max-attempts")
    if text is None:
        return None
    if not _MAX_ATTEMPTS.fullmatch(text):
        raise InvalidRequest(locations=["Relaykit-Max-Attempts: a number from 1 to 99"])
    return int(text)
