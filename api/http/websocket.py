"""A WebSocket of the site's application: uvicorn's protocol, with a limit for all that a client can make it hold.

The HTTP protocol hands its connection over with the head of the opening handshake. From then on the bytes go to the
parser in slices, and only while no message waits for the application: what came beyond stays as bytes, and nothing more
is read. Frames that bring the application no message are parsed at a limited rate.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from starlette.types import Message, Scope
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, WebSocketScope
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from relaykit.api.http.connections import LINGER_BYTES
from relaykit.api.http.websocket_connection import WebSocketConnection
from relaykit.api.metrics import WEBSOCKETS

if TYPE_CHECKING:
    from relaykit.api.http.server import HttpConfig

SLICE_BYTES: Final = 4096
"""Bytes that the parser is given at once: at most 682 messages, which the application then takes one by one."""
MAX_IDLE_FRAMES: Final = 500
"""Frames without a message for the application, after which nothing is read for IDLE_FRAMES_PAUSE_SECONDS. No message
that waits would stop their parsing: pings, pongs, the parts of a message, and all that comes after the close."""
IDLE_FRAMES_PAUSE_SECONDS: Final = 0.05
MAX_EARLY_BYTES: Final = 64 * 1024
"""Bytes that are read before the application has accepted; a client has to wait for that, and sends none."""
MAX_PONG_BYTES: Final = 64 * 1024
"""Bytes of answers to pings that the client does not take; beyond, nothing more of it is read."""
_ANSWERS: Final = {"websocket.accept": 101, "websocket.close": 403}
"""The status of what answers the handshake, besides a response of the application's own."""


class WebSocket(WebSocketConnection):
    def __init__(self, config: HttpConfig, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._held = b""
        """Bytes that the parser has not been given."""
        self._message = bytearray()
        """The frames of the message that has not come whole. Joined at once, because empty ones would be a list without
        end."""
        self._idle_frames = 0
        """Frames without a message since the last pause."""
        self._pause_timer: asyncio.TimerHandle | None = None
        self._pong_bytes = 0
        self._surplus_bytes = 0

    # --- the handshake

    def offers(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the head opens a WebSocket (RFC 6455, section 4.2.1)."""
        fields = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        self.response = self.conn.accept(Request("/", fields))
        return self.response.status_code == 101

    def begin(self, transport: asyncio.Transport, scope: Scope, *, counted: bool) -> None:
        """Takes the connection over with what the HTTP protocol knows of the request. `offers` was true."""
        self.connection_made(transport)
        self._counted = counted
        WEBSOCKETS.inc()
        self.conn.receive_data(b"GET / HTTP/1.1\r\n\r\n")  # the head, which httptools has parsed
        self.conn.events_received()
        self.handshake_initiated = True
        offered = [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
        socket_scope = {
            **{name: value for name, value in scope.items() if name != "method"},
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "scheme": self.scheme,
            "subprotocols": [
                name.strip() for value in offered for name in value.decode("latin-1").split(",")
            ],
            "extensions": {"websocket.http.response": {}},
        }
        self.scope = cast(WebSocketScope, socket_scope)
        self.queue.put_nowait({"type": "websocket.connect"})
        # a context of its own: what runs here may run in that of a request before it
        task = self.loop.create_task(self.run_asgi(), context=contextvars.Context())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)
        self._task = task

    async def run_asgi(self) -> None:
        structlog.contextvars.bind_contextvars(request_id=self._request_id)
        await super().run_asgi()

    # --- reading

    def data_received(self, data: bytes) -> None:
        self._is_silent = False
        if self._is_failed:
            self._surplus_bytes += len(data)
            if self._surplus_bytes > LINGER_BYTES:
                self.drop()
            return
        self._held = self._held + data if self._held else data
        self._read_on()

    def resume_writing(self) -> None:
        self._pong_bytes = 0
        super().resume_writing()
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pause_timer is not None:
            self._pause_timer.cancel()
        super().connection_lost(exc)
        # the application may go on for long, and has no use for half a message
        self._held, self._message = b"", bytearray()
        self.conn.reader.discard()

    def _read_on(self) -> None:
        """Gives the parser what has come, for as long as it is taken, and reads more where that was all."""
        if self._is_failed:
            return
        start, size = 0, len(self._held)
        while start < size and self._takes_frames:
            end = start + SLICE_BYTES
            self._parse(self._held[start:end])
            start = end
            if self._is_failed:
                return
        self._held = self._held[start:]
        is_early = not self.handshake_complete
        self._pause_reading(len(self._held) > MAX_EARLY_BYTES if is_early else not self._takes_frames)

    def _parse(self, data: bytes) -> None:
        received = self._received
        self.conn.receive_data(data)
        if self.conn.parser_exc is not None:
            self.handle_parser_exception()
            return
        frames = len(self.conn.events)
        self.handle_events()
        self._idle_frames += frames - (self._received - received)
        if self._idle_frames >= MAX_IDLE_FRAMES:
            self._idle_frames = 0
            self._pause_timer = self.loop.call_later(IDLE_FRAMES_PAUSE_SECONDS, self._end_pause)

    def _end_pause(self) -> None:
        self._pause_timer = None
        self._read_on()

    @property
    def _takes_frames(self) -> bool:
        """Whether the application, or the end of the connection, waits for the client's next frame."""
        if not self.handshake_complete or self._pause_timer is not None or self._pong_bytes > MAX_PONG_BYTES:
            return False
        return self.close_sent or self.queue.empty()

    def _pause_reading(self, is_paused: bool) -> None:
        if is_paused == self.read_paused or self.transport.is_closing():
            return
        self.read_paused = is_paused
        if is_paused:
            self.transport.pause_reading()
        else:
            self._is_silent = False  # its pong may wait to be read
            self.transport.resume_reading()

    def handle_text(self, event: Frame) -> None:
        self.curr_msg_data_type = "text"
        self.handle_cont(event)

    def handle_bytes(self, event: Frame) -> None:
        self.curr_msg_data_type = "bytes"
        self.handle_cont(event)

    def handle_cont(self, event: Frame) -> None:
        self._message += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        data, self._message = bytes(self._message), bytearray()
        if self.close_sent:
            return
        self._received += 1
        self._received_bytes += len(data)
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.conn.fail(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            self.queue.put_nowait({"type": "websocket.receive", "text": text})

    def handle_ping(self) -> None:
        pongs = b"".join(self.conn.data_to_send())
        self.transport.write(pongs)
        if not self.writable.is_set():
            self._pong_bytes += len(pongs)

    def handle_pong(self, event: Frame) -> None:
        """Any byte of the client's says that it is there."""

    def handle_parser_exception(self) -> None:
        """Tells the client why, and gives it time to read that: its connection would be reset."""
        self._is_failed, self._held = True, b""
        closed = self.conn.close_sent
        self.queue.put_nowait(
            {
                "type": "websocket.disconnect",
                "code": int(CloseCode.ABNORMAL_CLOSURE if closed is None else closed.code),
                "reason": "" if closed is None else closed.reason,
            }
        )
        self._write_last()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.queue.empty():
            self._read_on()
        return message

    # --- writing

    async def send(self, message: ASGISendEvent) -> None:
        """Raises ClientDisconnected, an OSError, once the client has gone or this side has ended the connection."""
        while not self.writable.is_set():  # of those that wait, the first one may fill the buffer again
            await self.writable.wait()
        if self._is_over:
            raise ClientDisconnected
        sent = cast(Message, message)
        kind = sent["type"]
        if kind == "websocket.http.response.body":
            sent = {"body": b"", **sent}  # which ASGI lets an application leave out
        await super().send(cast(ASGISendEvent, sent))
        if kind == "websocket.send":
            self._sent += 1
            text = sent.get("text") or ""
            self._sent_bytes += len(sent.get("bytes") or (text if text.isascii() else text.encode()))
        elif self._status is None:
            self._status = _ANSWERS.get(kind) or sent.get("status")
            if kind == "websocket.accept" and self.handshake_complete:
                self._sockets.wait_for_ping(self)
                self._read_on()
        elif kind == "websocket.close":
            self._read_on()  # up to the client's own
