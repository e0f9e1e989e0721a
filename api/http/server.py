"""The HTTP server of an API process: uvicorn's, with the settings' limits and a shutdown in three steps.

It says that it is about to stop and goes on serving, so that balancers leave it; then it takes no new connections, and
closes the streams and the WebSockets one after the other; then uvicorn ends what is left.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from relaykit.api.http.connections import Connections
from relaykit.api.http.descriptors import descriptor_limit
from relaykit.api.http.pacing import paced
from relaykit.api.http.uvicorn_protocol import HttpProtocol
from relaykit.api.http.websocket import WebSocket
from relaykit.shared.log import failure
from relaykit.shared.process.end import note_failure
from relaykit.shared.process.notify import READY, STOPPING, notify
from relaykit.shared.tasks import end_tasks, error_of

UNSENT_BYTES = 128 * 1024
"""Bytes of an answer that the kernel takes beyond those on their way to the client. By default it takes 4 MB, and then
nothing until the client has read a third of that, so that a slow reader looks like one that does not read."""

FRESH_SECONDS = 1.0
"""How long the requests of new connections are waited for once no more are taken: a proxy that has sent a POST over one
does not send it again, and answers 502."""
FRESH_POLL_SECONDS = 0.02

log = structlog.get_logger()


class HttpConfig(uvicorn.Config):
    """How the API is served; each protocol gets its limits from `connections`."""

    def __init__(self, app: FastAPI, connections: Connections, **more: Any) -> None:
        super().__init__(
            app,
            http=HttpProtocol,
            ws="none",  # HttpProtocol makes its own WebSockets
            ws_max_size=connections.settings.websocket_max_bytes,
            ws_per_message_deflate=False,  # 30 KB a connection, and messages that swell
            ws_ping_interval=None,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            reset_contextvars=True,  # else a request on a kept connection has the caller before it in its lines
            **more,
        )
        self.connections = connections


class Server(uvicorn.Server):
    """Closes the streams first: uvicorn itself would wait for them, and they end with their runs."""

    config: HttpConfig
    delay_seconds = 0.0
    """How long requests are still taken after SIGTERM."""
    drain_seconds = 0.0
    """How long the streams take to close one after the other, so that their clients do not all come back at once."""

    def __init__(self, config: HttpConfig) -> None:
        super().__init__(config)
        self._watching: asyncio.Task[None] | None = None
        self._serves_until: float | None = None
        """Until when requests are still taken, by the monotonic clock; None until the process is about to stop."""
        self._delay_is_over = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        listeners = [listener for server in self.servers for listener in server.sockets]
        self.config.connections.listens_on(listeners)
        for listener in listeners:
            with suppress(AttributeError, OSError):  # not every system has it; connections inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        log.info(
            "api started",
            action="api_start",
            host=self.config.host,
            port=_port(listeners, self.config.port),
            descriptors=descriptor_limit(),
        )
        notify(READY)
        self._watching = asyncio.create_task(self.config.connections.run())
        self._watching.add_done_callback(self._exit_if_failed)

    async def on_tick(self, counter: int) -> bool:
        """Whether to begin the shutdown; asked ten times a second."""
        if not await super().on_tick(counter):
            return False
        if self._serves_until is None:
            self._serves_until = time.monotonic() + self.delay_seconds
            self._announce_shutdown()
        if time.monotonic() >= self._serves_until:
            self._delay_is_over = True
        return self._delay_is_over

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM comes from an orchestrator, SIGINT from a person at a terminal, without a balancer to tell."""
        ends_the_delay = self.should_exit and not self._delay_is_over
        if ends_the_delay or sig == signal.SIGINT:
            self._delay_is_over = True
        if not ends_the_delay:
            super().handle_exit(sig, frame)

    def _announce_shutdown(self) -> None:
        notify(STOPPING)
        log.info(
            "the API is draining: streams are closed, and clients resume at other processes",
            action="api_drain",
            delay_seconds=0 if self._delay_is_over else self.delay_seconds,
            connections=len(self.server_state.connections),
        )
        self.config.app.state.draining = True  # type: ignore[union-attr]
        self.config.connections.draining = True
        for connection in self.server_state.connections:
            if isinstance(connection, HttpProtocol):
                connection.close_after_answer()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.connections.listens_on(())
        for server in self.servers:
            server.close()  # takes no new connections from here on
        hub = getattr(self.config.app.state, "hub", None)  # type: ignore[union-attr]
        closings = (
            [self._close_sockets()] if hub is None else [hub.drain(self.drain_seconds), self._close_sockets()]
        )
        await asyncio.gather(*closings)
        await self._first_requests()
        await super().shutdown(sockets)
        if self._watching is not None:
            await end_tasks([self._watching])

    async def _first_requests(self) -> None:
        """Waits for the requests of connections that have just been made, for FRESH_SECONDS at most."""
        closed_at = time.monotonic()
        while self.config.connections.are_fresh(FRESH_SECONDS):
            if time.monotonic() >= closed_at + FRESH_SECONDS:
                return
            await asyncio.sleep(FRESH_POLL_SECONDS)

    async def _close_sockets(self) -> None:
        """The WebSockets that are open now; uvicorn closes those that have come meanwhile."""
        open_now = [each for each in self.server_state.connections if isinstance(each, WebSocket)]
        async for each in paced(open_now, self.drain_seconds):
            each.shutdown()

    def _exit_if_failed(self, watching: asyncio.Task[None]) -> None:
        """Without its timer no wait for a client would end: the process does, and its orchestrator starts a new one."""
        error = error_of(watching)
        if self.should_exit and (error is None or watching.cancelled()):
            return
        more = {} if error is None else failure(error)
        log.critical(
            "looking after the connections failed: the process ends", action="connections_failed", **more
        )
        note_failure()
        self.should_exit = self._delay_is_over = True


def _port(listeners: Sequence[socket.socket], default: int) -> int:
    """The port that clients reach, which is another than PORT where that is 0 or a socket was given."""
    addresses = [listener.getsockname() for listener in listeners if listener.family != socket.AF_UNIX]
    return int(addresses[0][1]) if addresses else default
