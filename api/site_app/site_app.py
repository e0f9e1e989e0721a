"""Requests and WebSockets at paths that are not ours: carried to the site's application, and its answers back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.status import WS_1000_NORMAL_CLOSURE, WS_1011_INTERNAL_ERROR
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from relaykit.api.http.errors import error_response, status_of
from relaykit.api.site.server_loop import ServerLoop
from relaykit.api.site_app.exchange import Exchange
from relaykit.api.site_app.loaded_app import first_segment
from relaykit.shared.crashes import ServerCrashed
from relaykit.shared.errors import RelaykitError, Stopping
from relaykit.shared.identity import RequestContext
from relaykit.shared.log import failure
from relaykit.shared.site.current_user import CALLER_KEY

Authenticate = Callable[[Scope], Awaitable[RequestContext]]

log = structlog.get_logger()


class SiteApp:
    """The application, once its lifespan has begun."""

    def __init__(
        self,
        app: ASGIApp,
        state: dict[str, Any],
        loop: ServerLoop,
        authenticate: Authenticate,
        ours: Collection[str | None],
    ) -> None:
        self._app = app
        self._state = state
        self._loop = loop
        self._authenticate = authenticate
        self._ours = frozenset(ours)

    def takes(self, path: str) -> bool:
        """Whether the path is the application's: its first segment is none of ours."""
        return first_segment(path) not in self._ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(receive, send)

        async def caller() -> RequestContext:
            return await exchange.across(lambda: self._caller(scope))

        theirs = {
            **scope,
            "headers": list(scope["headers"]),
            "state": dict(self._state),
            CALLER_KEY: caller,
        }
        try:
            await self._loop.call(lambda: self._app(theirs, exchange.receive, exchange.send))
            if not exchange.has_begun:
                raise _NoResponse
            await _close(exchange, send, WS_1000_NORMAL_CLOSURE)
        except asyncio.CancelledError:
            exchange.close()
            # the request outlasts the drain, as in `_CatchAll` of api/http/errors.py
            if not exchange.has_begun:
                await error_response(Stopping())(scope, receive, send)
            raise
        except Exception as error:
            exchange.close()
            if isinstance(error, (ClientDisconnect, WebSocketDisconnect, ClientDisconnected)):
                return
            _tell(error)
            await _close(exchange, send, WS_1011_INTERNAL_ERROR)
            if not exchange.has_begun:
                await error_response(error)(scope, receive, send)
        finally:
            exchange.close()

    async def _caller(self, scope: Scope) -> RequestContext:
        """On the API's loop. A refusal is an HTTPException, which the application's own framework answers."""
        try:
            return await self._authenticate(scope)
        except RelaykitError as error:
            response = error_response(error)
            headers = {
                name: value
                for name in ("www-authenticate", "retry-after")
                if (value := response.headers.get(name)) is not None
            }
            detail = json.loads(bytes(response.body))["error"]
            raise HTTPException(response.status_code, detail, headers) from error


async def _close(exchange: Exchange, send: Send, code: int) -> None:
    """Closes a WebSocket that the application has left open."""
    if exchange.is_open:
        with suppress(ClientDisconnected):
            await send({"type": "websocket.close", "code": code})


class _NoResponse(Exception):
    """The application has returned without a response."""


def _tell(error: Exception) -> None:
    if isinstance(error, ServerCrashed):
        return  # the loop has logged it
    code = error.code if isinstance(error, RelaykitError) else RelaykitError.code
    log.error(
        "the site's application failed: the client of the request gets an error",
        action="app_failed",
        code=code,
        status=status_of(error),
        **failure(error),
    )
