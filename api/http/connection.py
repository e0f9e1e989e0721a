"""A client's connection apart from the requests on it: its waits, its time-outs and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from relaykit.api.http.connections import LINGER_BYTES
from relaykit.api.http.head import HeadScan
from relaykit.api.http.refusal import refusal
from relaykit.api.metrics import CONNECTIONS_DROPPED
from relaykit.shared.errors import RelaykitError, RequestTimeout, TooManyConnections

if TYPE_CHECKING:
    from relaykit.api.http.server import HttpConfig


class Phase:
    """What a connection is at. Numbers: in Python 3.11 each access to an enum's member costs half a microsecond."""

    HEAD: Final = 0
    """A head is awaited, or has come in part."""
    BODY: Final = 1
    """The request is being answered, and its body has not come whole."""
    ANSWER: Final = 2
    """The request has come whole and is being answered."""
    LINGER: Final = 3
    """The last answer is written; what the client still sends is read and dropped."""
    OVER: Final = 4
    UPGRADE: Final = 5
    """The head of a WebSocket of the site's application has come, which takes the connection over."""


class HttpConnection(HttpToolsProtocol):
    """A connection whose waits stand in the tables of `Connections`.

    Its events keep their waiters in lists in place of deques, and one timer serves all connections: without both an
    idle stream would cost a fifth more. An empty deque takes 760 bytes, an empty list 56, and there is hardly ever more
    than one waiter.
    """

    __slots__ = (
        "_connections",
        "_counted",
        "_head",
        "_max_fields",
        "_max_head_bytes",
        "_max_url_bytes",
        "_phase",
        "_rest",
        "_surplus_bytes",
        "received_bytes",
    )

    def __init__(
        self,
        config: HttpConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = ()  # type: ignore[assignment]  # uvicorn's queue of parsed requests, which stays empty
        self._connections = config.connections
        self._counted = False
        self._phase: int = Phase.HEAD
        settings = config.connections.settings
        self._max_head_bytes, self._max_fields = settings.max_head_bytes, settings.max_header_fields
        self._max_url_bytes = settings.max_url_bytes
        self._head = HeadScan(settings.max_head_bytes)
        self._rest = b""
        """Bytes of the requests that wait for the one in front of them."""
        self.received_bytes = 0
        self._surplus_bytes = 0
        """Bytes that the client has sent since the response began."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        lighten(self.flow._is_writable_event)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` is called for any byte that is not sent
        self._counted = self._connections.accept()
        if self._counted:
            self._connections.wait_for_head(self)
        else:
            self._refuse(TooManyConnections())

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets the parser go: it and the protocol refer to each other, and would wait for the garbage collector."""
        super().connection_lost(exc)
        self.parser = None  # type: ignore[assignment]
        self._leave()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._connections.unsent[self] = (self._connections.clock, self.unsent_bytes)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._connections.unsent.pop(self, None)

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def waits_for_body(self) -> bool:
        return not (self.flow.read_paused or self.cycle.waiting_for_100_continue)

    def head_is_late(self) -> None:
        if self._phase != Phase.HEAD:
            return
        if self._head.taken:
            self._refuse(RequestTimeout())
        else:
            CONNECTIONS_DROPPED.labels("silent").inc()
            self.drop()

    def body_is_late(self) -> None:
        if self._phase == Phase.BODY:
            self._refuse(RequestTimeout())

    def close_idle(self) -> None:
        if self._phase == Phase.HEAD and not self._head.taken:
            self.transport.close()

    def close_after_answer(self) -> None:
        """Says `Connection: close` with the answer that is being made; one that has begun stays as it is."""
        if self._phase in (Phase.BODY, Phase.ANSWER) and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _forget_request(self) -> None:
        """Drops the last request, because its head may have 64 KB and the connection may be idle for long."""
        self.url = b""
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]

    def drop(self) -> None:
        self._leave()
        self.transport.abort()

    def _refuse(self, error: RelaykitError) -> None:
        """Answers in the place of the application, and closes."""
        if self._phase == Phase.BODY:
            cycle = self.cycle
            if cycle.response_started:
                self.drop()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(refusal(error, self.server_state.default_headers))
        self._linger()

    def _linger(self) -> None:
        """Ends the sending side; the connection closes when the client does, or after LINGER_SECONDS."""
        self._phase, self._rest = Phase.LINGER, b""
        self._connections.linger(self, counted=self._counted)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        try:
            self.transport.write_eof()
        except OSError:  # the client has gone
            self.drop()

    def _has_surplus(self, count: int) -> bool:
        """Whether the client has sent more after its answer than is read of it."""
        self._surplus_bytes += count
        return self._surplus_bytes > LINGER_BYTES

    def _leave(self) -> None:
        self._phase, self._rest = Phase.OVER, b""
        self._connections.leave(self, counted=self._counted)
        self._counted = False


def lighten(event: asyncio.Event) -> None:
    """Gives the event a list in place of its deque of waiters, unless one waits already."""
    if not event._waiters:
        event._waiters = []  # type: ignore[assignment]
