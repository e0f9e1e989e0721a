"""From errors to responses: the one table of statuses, and the one shape of a body."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from relaykit.api.metrics import REFUSED
from relaykit.shared import errors
from relaykit.shared.errors import (
    InvalidJson,
    InvalidRequest,
    JournalGone,
    RelaykitError,
    ServerRefused,
    Stopping,
    ThreadBusy,
    Unauthenticated,
)
from relaykit.shared.log import failure
from relaykit.shared.metrics import begin_at_zero
from relaykit.shared.operating.act_errors import ActRefused, RetryFailed, WorkerNotFound

MAX_LOCATIONS = 20
MAX_LOCATION_CHARS = 200

STATUS: Final[Mapping[type[RelaykitError], int]] = {
    RelaykitError: 500,
    errors.SettingsError: 500,
    errors.ServerLoadError: 500,
    errors.DatabaseUnavailable: 503,
    errors.SchemaOutdated: 503,
    errors.MigrationFailed: 500,
    errors.QueueUnavailable: 503,
    errors.ContextTimeout: 503,
    errors.ServerBlocked: 503,
    errors.Stopping: 503,
    errors.Draining: 503,
    errors.Overloaded: 503,
    errors.Unauthenticated: 401,
    errors.IssuerUnavailable: 503,
    errors.CrossSiteRequest: 403,
    errors.AuthenticationTimeout: 503,
    errors.AuthenticationFailed: 500,
    errors.TokenUnreadable: 500,
    errors.LocalOnly: 403,
    errors.Forbidden: 403,
    errors.ContentForbidden: 403,
    errors.InvalidJson: 400,
    errors.UnknownRequestType: 400,
    errors.InvalidRequest: 422,
    errors.EmptyMessage: 422,
    errors.MessageTooLarge: 422,
    errors.TitleTooLong: 422,
    errors.MetadataTooLarge: 422,
    errors.TooManyAttachments: 422,
    errors.BodyTooLarge: 413,
    errors.MalformedRequest: 400,
    errors.HeadTooLarge: 431,
    errors.ContextHeadersTooLarge: 431,
    errors.UrlTooLong: 414,
    errors.RequestTimeout: 408,
    errors.TooManyConnections: 503,
    errors.ThreadNotFound: 404,
    errors.ItemNotFound: 404,
    errors.AttachmentNotFound: 404,
    errors.RunNotFound: 404,
    errors.ItemMismatch: 409,
    errors.ThreadBusy: 409,
    errors.RateLimited: 429,
    errors.TenantRateLimited: 429,
    errors.TooManyQueued: 429,
    errors.TooManyBodies: 429,
    errors.TooManyRuns: 429,
    errors.TooManyStreams: 429,
    errors.TooManyAttachmentsUnsent: 429,
    errors.QueueFull: 503,
    errors.IdempotencyMismatch: 422,
    errors.BodyRepeated: 409,
    errors.InvalidIdempotencyKey: 400,
    errors.InvalidCursor: 400,
    errors.InvalidFilter: 400,
    errors.NothingToResume: 409,
    errors.JournalGone: 410,
    errors.ServerRefused: 403,  # unless its `status` says another
    errors.NotSupported: 400,  # not 501: the stock widget sends again what got a 5xx
    errors.AttachmentRejected: 422,
    errors.AttachmentNotUploaded: 409,
    errors.AttachmentAlreadyUploaded: 409,
    errors.AttachmentInUse: 409,
    errors.UploadInProgress: 409,
    errors.AttachmentTooLarge: 413,
    errors.StorageUnavailable: 503,
    errors.InvalidSignature: 403,
    errors.Fenced: 500,
    ActRefused: 409,
    RetryFailed: 424,  # not 5xx, which would keep from the operator where it failed
    WorkerNotFound: 404,
}

CODE_OF_STATUS: Final[Mapping[int, str]] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}
"""The codes of what the framework refuses before a route is called."""

begin_at_zero(REFUSED, *(kind.code for kind in STATUS))

AWAY_RETRY_SECONDS = 2.0
"""`Retry-After` of a 503 because a service is away."""

log = structlog.get_logger()


def status_of(error: Exception) -> int:
    """The status of an error; a subclass that has no line in the table gets its parent's, anything else 500."""
    if isinstance(error, ServerRefused):
        return error.status
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def summary(kind: type[RelaykitError]) -> str:
    """The first line of the class's docstring, which is the message that clients are given."""
    return (kind.__doc__ or RelaykitError.__doc__ or "").strip().split("\n", 1)[0]


def error_response(error: Exception) -> Response:
    """`{"error": {"code", "message"}}` with the status and headers that belong to the error.

    A 5xx answers with the summary of its class and never with its own text, because that is not meant for a client;
    only the text of a ServerRefused is, which the site has written for its users. An exception that is no RelaykitError
    answers `internal`.
    """
    if isinstance(error, HTTPException):
        return _framework_response(error)
    known = error if isinstance(error, RelaykitError) else RelaykitError()
    REFUSED.labels(known.code).inc()
    status = status_of(known)
    is_for_clients = status < 500 or isinstance(known, ServerRefused)
    message = known.message if is_for_clients else summary(type(known))
    body: dict[str, Any] = {"code": known.code, "message": message}
    headers: dict[str, str] = {}
    retry_seconds = AWAY_RETRY_SECONDS if status == 503 else None
    if known.retry_after_seconds is not None:
        retry_seconds = known.retry_after_seconds
    if retry_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_seconds)))
    match known:
        case ThreadBusy():
            body["run_id"] = known.run_id
        case JournalGone(thread_id=str(thread_id)):
            body["thread_id"] = thread_id
        case InvalidRequest():
            locations = known.locations[:MAX_LOCATIONS]
            body["locations"] = [location[:MAX_LOCATION_CHARS] for location in locations]
        case Unauthenticated():
            headers["WWW-Authenticate"] = _challenge(known.reason)
        case ServerRefused():
            if known.detail is not None:
                body["detail"] = known.detail
            if status == 401:  # which has to say how to authenticate (RFC 9110, 15.5.2)
                headers["WWW-Authenticate"] = _challenge(None)
    return JSONResponse({"error": body}, status, headers)


def install_error_handlers(app: FastAPI) -> None:
    """Every error of the app's routes gets the one shape, the framework's own among them.

    An exception that no handler knows answers 500 `internal`. It is logged by its type and the places it came through,
    not by its text, which may quote what a user wrote; for the same reason it does not reach the HTTP server, which
    would print it. Where the response had begun already, the connection is closed without its proper end.
    """
    app.add_exception_handler(RelaykitError, _handle)
    app.add_exception_handler(HTTPException, _handle)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    # innermost: the headers of the others are on its answers too
    app.user_middleware.append(Middleware(_CatchAll))


async def _handle(request: Request, error: Exception) -> Response:
    if isinstance(error, RelaykitError) and status_of(error) >= 500:
        log.warning(
            "a request failed: its client gets an error",
            action="request_failed",
            code=error.code,
            **failure(error),
        )
    response = error_response(error)
    if response.status_code == 405:
        response.headers["Allow"] = _allowed(request)
    return response


async def _handle_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return error_response(InvalidJson())
    return error_response(
        InvalidRequest(locations=[".".join(map(str, problem["loc"])) for problem in problems])
    )


def _allowed(request: Request) -> str:
    """The methods of every route on the path; the one that answers 405 knows its own only."""
    path = getattr(request.scope.get("route"), "path", None)
    found = (route.methods or () for route in iter_route_contexts(request.app.routes) if route.path == path)
    return ", ".join(sorted({method for methods in found for method in methods}))


def _framework_response(error: HTTPException) -> Response:
    status = error.status_code
    if status < 200 or status in (204, 304):
        return Response(status_code=status, headers=error.headers)
    phrase = HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "The request failed"
    body = {"code": CODE_OF_STATUS.get(status, f"http_{status}"), "message": f"{phrase}."}
    return JSONResponse({"error": body}, status, error.headers)


def _challenge(reason: str | None) -> str:
    """RFC 6750, section 3: no error is named to a request that brings no credentials at all."""
    return "Bearer" if reason is None else f'Bearer error="invalid_token", error_description="{reason}"'


class _CatchAll:
    """Keeps the exceptions that no handler knows from the HTTP server; ASGI, one frame a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if not begun:  # the request outlasts the drain: uvicorn gives it up, and would answer 500
                await error_response(Stopping())(scope, receive, send)
            raise
        except Exception as error:
            log.error(  # noqa: TRY400
                "a request failed: its client gets an error",
                action="request_failed",
                code=RelaykitError.code,
                **failure(error),
            )
            if not begun:
                await error_response(error)(scope, receive, send)
