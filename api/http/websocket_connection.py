"""A WebSocket's connection apart from its messages: its waits, its numbers and its end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode

from relaykit.api.http.access_log import request_id_of
from relaykit.api.http.connections import LINGER_SECONDS
from relaykit.api.http.refusal import refusal
from relaykit.api.metrics import CONNECTIONS_DROPPED, WEBSOCKETS
from relaykit.shared.errors import Stopping

if TYPE_CHECKING:
    from relaykit.api.http.server import HttpConfig

LEAVE_SECONDS: Final = 60.0
"""How long the application goes on after its client has gone, before it is cancelled. It may have to store something;
one that never ends would be held for each client that comes and goes."""

log = structlog.get_logger()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """Counted by `Connections` from the HTTP protocol's `accept` until connection and application have ended.

    uvicorn's own pings are off: `Connections` has a timer for all, whose clock stands still with the process.
    """

    def __init__(self, config: HttpConfig, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._sockets = config.connections
        self._counted = False
        self._is_failed = False
        """The client broke the protocol: what it still sends is dropped."""
        self._is_over = False
        """This side has ended the connection, and not the application."""
        self._is_silent = False
        """A ping was sent, and nothing has come since."""
        self._task: asyncio.Task[None] | None = None
        self._leave_timer: asyncio.TimerHandle | None = None
        self._status: int | None = None
        self._started_at = time.monotonic()
        self._received = self._sent = 0
        self._received_bytes = self._sent_bytes = 0

    def _read_on(self) -> None:
        """Reads, or does not, as it is now."""
        raise NotImplementedError

    def _pause_reading(self, is_paused: bool) -> None:
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        # the first of these that stands in the queue is what the application gets
        self._put_disconnect()
        super().connection_lost(exc)
        if self._task is None or self._task.done():
            self._leave()
        else:
            self._sockets.client_has_gone(self)
            self._leave_timer = self.loop.call_later(LEAVE_SECONDS, self._cancel_app)
        self._log()

    def _put_disconnect(self) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.ABNORMAL_CLOSURE.value})

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sockets.unsent[self] = (self._sockets.clock, self.unsent_bytes)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_silent = False  # it has taken something
        self._sockets.unsent.pop(self, None)

    def start_keepalive(self) -> None:
        """`Connections` asks for pings."""

    def ping_is_due(self) -> None:
        """Sends one, or closes the connection of a client of which nothing came after the last one.

        Of a client whose messages wait for the application nothing is read: it is not judged. Nor is one that has not
        taken what was sent before the ping: STALL_SECONDS is its limit.
        """
        if self.transport.is_closing() or self.close_sent:
            return
        if not self.writable.is_set():
            self._sockets.wait_for_ping(self)
            return
        if self._is_silent and not self.read_paused:
            CONNECTIONS_DROPPED.labels("silent").inc()
            self.drop()
            return
        self._is_silent = True
        self.conn.send_ping(b"")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._sockets.wait_for_ping(self)

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def shutdown(self) -> None:
        """The process stops: 1012, by which the client knows that it may come again. Safe to be called twice."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.SERVICE_RESTART.value})
        if self.handshake_complete:
            self.conn.send_close(CloseCode.SERVICE_RESTART)
            self._write_last()
            self._read_on()  # up to the client's own
        elif self.initial_response is None:
            self._status, self.disconnected = 503, True
            self.transport.write(refusal(Stopping(), self.default_headers))
            self.transport.close()

    def drop(self) -> None:
        """Closes at once. Where the client has gone, the application is cancelled, and its place given back."""
        if self in self._sockets.left:
            self._cancel_app()
            self._leave()
        else:
            self._sockets.end_waits(self)
            self.transport.abort()

    def _write_last(self) -> None:
        """The last frame; the connection closes when the client does, or after LINGER_SECONDS."""
        self.close_sent = self._is_over = True
        if self.transport.is_closing():
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(LINGER_SECONDS, self.drop)
        if self._is_failed:
            self._pause_reading(False)
            try:
                self.transport.write_eof()
            except OSError:  # the client has gone
                self.drop()

    def _leave(self) -> None:
        self._sockets.leave_socket(self, counted=self._counted)
        self._counted = False

    def _cancel_app(self) -> None:
        if self._task is not None:
            log.warning(
                "the site's application goes on although the client of its WebSocket has gone: it is cancelled",
                action="app_left",
                request_id=self._request_id,
            )
            while not self.queue.empty():
                self.queue.get_nowait()  # its messages have been kept for long enough
            self._put_disconnect()
            self._task.cancel()

    @property
    def _request_id(self) -> str:
        return request_id_of(cast(Scope, self.scope))

    def _log(self) -> None:
        WEBSOCKETS.dec()
        closed = self.conn.close_rcvd or self.conn.close_sent
        log.info(
            "a WebSocket has ended",
            action="websocket_end",
            request_id=self._request_id,
            status=self._status,
            close_code=CloseCode.ABNORMAL_CLOSURE.value if closed is None else int(closed.code),
            ms=round(1000 * (time.monotonic() - self._started_at), 1),
            received=self._received,
            received_bytes=self._received_bytes,
            sent=self._sent,
            sent_bytes=self._sent_bytes,
        )
