"""One connection through a link: its two sockets, and the flow from each to the other, at once, late or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from typing import Protocol, cast

MAX_WAITING_BYTES = 256 * 1024
"""Read from a socket and not yet passed on: beyond that it is read no further. One chunk comes on top."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: closing sends RST."""


class Direction(Enum):
    UP = "to the server"
    DOWN = "to the client"


class Rules(Protocol):
    """What flows obey, at every moment anew."""

    held: frozenset[Direction]
    delay_seconds: Callable[[], float] | None


class _Mark(Enum):
    """What a flow passes on besides bytes."""

    END = "end"
    RESET = "reset"


class Connection:
    """From a client, whose protocol is `client`, to the server, which `connect` reaches. `closed` hears of its end."""

    def __init__(
        self,
        rules: Rules,
        connect: Callable[[asyncio.Protocol], Awaitable[None]],
        closed: Callable[[Connection], None],
    ) -> None:
        self.opening: asyncio.Task[None] | None = None
        """Reaches the server."""
        self.is_reset = False
        self._rules, self._connect, self._closed = rules, connect, closed
        self.client, self._server = _End(self, rules, Direction.UP), _End(self, rules, Direction.DOWN)
        self.client.other, self._server.other = self._server, self.client

    def go_on(self) -> None:
        """Passes on what may pass by now. The server hears of the connection once its direction is not held."""
        if self.opening is None and Direction.UP not in self._rules.held:
            self.opening = asyncio.create_task(self._open())
        self.client.go_on()
        self._server.go_on()

    def reset(self) -> None:
        """Closes both sockets with RST, whatever is held."""
        self.is_reset = True
        if self.opening is not None:
            self.opening.cancel()
        self.client.reset()
        self._server.reset()

    def over(self, end: _End) -> None:
        """All that came from this end was passed on."""
        if end.other.is_over:
            self.client.close()
            self._server.close()

    def lost(self) -> None:
        if self.client.is_gone and self._server.is_gone:
            self._closed(self)

    async def _open(self) -> None:
        try:
            await self._connect(self._server)
        except OSError:
            self._server.refused()


class _End(asyncio.Protocol):
    """One of the two sockets, and the flow of what comes in there to the other."""

    other: _End

    def __init__(self, connection: Connection, rules: Rules, direction: Direction) -> None:
        self.is_gone = True
        """Whether there is no open socket."""
        self.is_over = False
        """Whether the end of the flow was passed on."""
        self._connection, self._rules, self._direction = connection, rules, direction
        self._transport: asyncio.Transport | None = None
        self._is_full = False
        self._complete = False
        """Whether nothing more can come in."""
        self._waiting: deque[tuple[float, bytes | _Mark]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    # --- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_gone = cast(asyncio.Transport, transport), False
        if self._connection.is_reset:
            self.reset()
        else:
            self._connection.go_on()

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def eof_received(self) -> bool:
        self._take(_Mark.END)
        return True  # the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        self.is_gone = True
        if error is not None:
            self._take(_Mark.RESET)
        self._connection.lost()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self.other.go_on()

    def refused(self) -> None:
        """There is no socket, and there will be none."""
        self._take(_Mark.RESET)

    def close(self) -> None:
        """Closes the socket, once what was written to it is sent."""
        if self._transport is not None:
            self._transport.close()

    def _write_end(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        try:
            self._transport.write_eof()
        except OSError:  # it was reset, which nobody has read
            self._take(_Mark.RESET)
            self.reset()

    def reset(self) -> None:
        if self._transport is None or self.is_gone:
            return
        with suppress(OSError, ValueError):  # it is closing
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()

    # --- the flow to the other

    def _take(self, what: bytes | _Mark) -> None:
        if self._complete and what is _Mark.END:
            return
        delay_seconds = self._rules.delay_seconds
        due_at = 0.0 if delay_seconds is None else asyncio.get_running_loop().time() + delay_seconds()
        self._waiting.append((due_at, what))
        if isinstance(what, bytes):
            self._waiting_bytes += len(what)
        else:
            self._complete = True
        self.go_on()

    def go_on(self) -> None:
        """Passes on what is due, if it may pass, and reads no further while too much waits."""
        while self._waiting and self._may_pass:
            due_at, what = self._waiting[0]
            if due_at and due_at > asyncio.get_running_loop().time():
                self._wait_until(due_at)
                break
            self._waiting.popleft()
            self._pass_on(what)
        self._throttle()

    @property
    def _may_pass(self) -> bool:
        other = self.other
        return other._transport is not None and not other._is_full and self._direction not in self._rules.held

    def _pass_on(self, what: bytes | _Mark) -> None:
        assert self.other._transport is not None
        if isinstance(what, bytes):
            self._waiting_bytes -= len(what)
            if not self.other._transport.is_closing():
                self.other._transport.write(what)
        elif what is _Mark.RESET:
            self.other.reset()
        else:
            self.is_over = True
            self.other._write_end()
            self._connection.over(self)

    def _wait_until(self, due_at: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(due_at, self._due)

    def _due(self) -> None:
        self._timer = None
        self.go_on()

    def _throttle(self) -> None:
        if self._complete or self._transport is None or self._transport.is_closing():
            return
        if self._may_pass and self._waiting_bytes <= MAX_WAITING_BYTES:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
