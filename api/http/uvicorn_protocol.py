"""uvicorn's HTTP protocol with a limit for everything that a client can make it hold.

The parser is given one message at a time: it has never seen more than the request that is being answered, and what came
behind that waits as bytes.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, cast

import httptools
from starlette.types import Scope
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from relaykit.api.http.connection import HttpConnection, Phase, lighten
from relaykit.api.http.detached_streams import OtherApp
from relaykit.api.http.head import CHUNKED, body_bytes
from relaykit.api.http.private_paths import is_disguised
from relaykit.api.http.websocket import WebSocket
from relaykit.shared.errors import HeadTooLarge, MalformedRequest, RelaykitError, UrlTooLong

if TYPE_CHECKING:
    from relaykit.api.http.server import HttpConfig

MAX_PIPELINED_BYTES: Final = 64 * 1024
"""Bytes of the requests that come before the one in front of them is answered; beyond, nothing more is read."""
PIPELINE_PAUSE_SECONDS: Final = 0.05
"""A pipelined request, which came while the one in front of it was being answered, is read after this pause. Browsers
and proxies send none; without the pause a client that does would take an iteration of the event loop for each."""
CHUNKED_SLICE_BYTES: Final = 4096
"""Bytes of a chunked body that the parser is given at once, because only the parser finds its end."""


class _NextRequest(Exception):
    """A request begins in the bytes that ended a chunked one: where, only the parser knows."""


class _Cycle(RequestResponseCycle):
    lingers = False
    """The protocol closes the connection after the response, and gives the client time to read it."""

    async def receive(self) -> ASGIReceiveEvent:
        """Tells the end of a response once the client has taken it or is gone, so that limits are held until then."""
        event = await super().receive()
        if self.response_complete:
            await self.flow.drain()
        return event

    def send(self, message: ASGISendEvent) -> Awaitable[None]:  # type: ignore[override]
        """A plain function, so that a stream's event passes through one frame less."""
        if self.more_body or self.lingers:
            return self._send_last(message)
        return super().send(message)

    async def _send_last(self, message: ASGISendEvent) -> None:
        """A response that begins before its request has come whole says `Connection: close`.

        What the client still sends could not be told from a next request.
        """
        self.lingers = True
        # where this is false at the response's end, uvicorn closes the connection by itself
        self.keep_alive = self.response_started
        await super().send(message)


class HttpProtocol(HttpConnection):
    __slots__ = ("_body_left", "_overhead_bytes")

    cycle: _Cycle
    _body_left: int
    """Bytes of the body that have not come, or CHUNKED."""
    _overhead_bytes: int
    """Bytes of a chunked body since the application was last given any: chunk extensions and trailers."""

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == Phase.ANSWER:
            self._hold(data)
        elif phase == Phase.LINGER:
            if self._has_surplus(len(data)):
                self.flow.pause_reading()  # a reset could take the answer away before the client has read it
        elif phase != Phase.OVER:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Feeds the parser up to the end of one message, and holds the rest until that is answered."""
        self._connections.idle.pop(self, None)
        start, size = 0, len(data)
        while start < size:
            if self._phase == Phase.HEAD:
                end = self._head.take(data, start)
                can_go_on = self._feed_head(data[start:end])  # a slice of all is not a copy
            elif self._phase == Phase.BODY and self._body_left == CHUNKED:
                end = min(size, start + CHUNKED_SLICE_BYTES)
                can_go_on = self._feed_chunked(data[start:end])
            elif self._phase == Phase.BODY:
                end = min(size, start + self._body_left)
                self._body_left -= end - start
                can_go_on = self._feed(data[start:end])
            else:
                break
            if not can_go_on:
                return
            start = end
        if self._phase == Phase.HEAD:
            self._connections.wait_for_head(self)
        elif self._phase == Phase.BODY:
            self._connections.bodies.setdefault(self, 0.0)
        elif self._phase == Phase.ANSWER and start < size:
            self._hold(data[start:])
        elif self._phase == Phase.UPGRADE:
            self._upgrade(data[start:])

    def _feed_head(self, data: bytes) -> bool:
        if not self._feed(data):
            return False
        if self._phase != Phase.HEAD:
            self._head.reset()
        elif self._head.is_full:
            self._refuse(HeadTooLarge())
            return False
        return True

    def _feed_chunked(self, data: bytes) -> bool:
        before = self.received_bytes
        if not self._feed(data):
            return False
        self._overhead_bytes = self._overhead_bytes + len(data) if self.received_bytes == before else 0
        if self._overhead_bytes > self._max_head_bytes:
            self._refuse(HeadTooLarge())
            return False
        return True

    def _feed(self, data: bytes) -> bool:
        """Whether the parser can go on."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._phase != Phase.UPGRADE:
                # the request is answered as it is; what follows may be in another protocol
                self.cycle.lingers = True
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _NextRequest):
                # the client has to send the next request again, as after any connection that closes
                self.cycle.lingers = True
            else:
                self._refuse(cause if isinstance(cause, RelaykitError) else MalformedRequest())
            return False
        return True

    def _hold(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > MAX_PIPELINED_BYTES:
            self.flow.pause_reading()

    def on_message_begin(self) -> None:
        if self._phase != Phase.HEAD:
            raise _NextRequest
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self._max_url_bytes:
            raise UrlTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase != Phase.HEAD:  # a trailer, which nothing here reads (RFC 9110, section 6.5.1)
            return
        headers = self.headers
        if len(headers) >= self._max_fields:
            raise HeadTooLarge
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """As uvicorn's, with WebSockets for the site's application alone, and without its queue of requests."""
        version = self.parser.get_http_version()
        self._body_left = body_bytes(version, self.headers)
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["path"] = self.root_path + (urllib.parse.unquote(path) if "%" in path else path)
        scope["query_string"] = url.query or b""
        if self.parser.should_upgrade() and self._opens_socket():
            self._phase = Phase.UPGRADE
            return
        self.cycle = _Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=(
                version != "1.0" and self.parser.should_keep_alive() and not self._connections.draining
            ),
            on_response=self.on_response_complete,
        )
        lighten(self.cycle.message_event)
        self._phase = Phase.BODY
        self._connections.heads.pop(self, None)
        self.received_bytes = self._overhead_bytes = self._surplus_bytes = 0
        self._start_asgi_task(self.cycle, self.app)

    def on_body(self, body: bytes) -> None:
        self.received_bytes += len(body)
        super().on_body(body)
        if self.cycle.response_started and self._has_surplus(len(body)):
            self.drop()

    def on_message_complete(self) -> None:
        if self._phase == Phase.UPGRADE:
            return
        self._phase = Phase.ANSWER
        self._connections.bodies.pop(self, None)
        super().on_message_complete()

    def _opens_socket(self) -> bool:
        """Whether the request asks for a WebSocket, at a path of the site's application."""
        other: OtherApp | None = getattr(self.config.app, "other", None)
        scope = self.scope
        return (
            other is not None
            and (scope["method"], scope["http_version"], self._body_left) == ("GET", "1.1", 0)
            and [value.lower() for name, value in self.headers if name == b"upgrade"] == [b"websocket"]
            and other.takes(scope["path"])
            and not is_disguised(cast(Scope, scope))
        )

    def _upgrade(self, rest: bytes) -> None:
        """Hands the connection over; a head that is no WebSocket's is refused."""
        socket = WebSocket(cast("HttpConfig", self.config), self.server_state, self.app_state)
        if not socket.offers(self.headers):
            self._refuse(MalformedRequest())
            return
        self._phase = Phase.OVER
        self._connections.wait_for_nothing(self)
        self.connections.discard(self)
        counted, self._counted = self._counted, False
        scope = cast(Scope, self.scope)
        self._forget_request()
        self.parser = None  # type: ignore[assignment]
        self.transport.set_protocol(socket)
        socket.begin(self.transport, scope, counted=counted)
        if self._connections.unsent.pop(self, None) is not None:
            socket.pause_writing()
        if rest:
            socket.data_received(rest)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.cycle.lingers:
            self._linger()
            return
        if self._rest:
            self.loop.call_later(PIPELINE_PAUSE_SECONDS, self._go_on)
        else:
            self._phase = Phase.HEAD
            self._forget_request()
            self.flow.resume_reading()
            self._connections.wait_for_request(self)

    def _go_on(self) -> None:
        """Reads the request that has waited, unless the connection has come to its end meanwhile."""
        if self._phase == Phase.ANSWER and not self.transport.is_closing():
            self._phase = Phase.HEAD
            self.flow.resume_reading()
            rest, self._rest = self._rest, b""
            self._parse(rest)
