"""The HTTP server of an API process: uvicorn's, with the settings' limits and a shutdown that closes streams first."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from api.connections import Connections
from api.descriptors import connection_limit
from api.http_protocol import HttpProtocol
from shared.log import failure
from shared.process_end import note_failure
from shared.settings import Settings
from shared.tasks import end_tasks

log = structlog.get_logger()


class HttpConfig(uvicorn.Config):
    """How the API is served; each protocol gets its limits from here. Raises SettingsError."""

    def __init__(self, app: FastAPI, settings: Settings, **more: Any) -> None:
        super().__init__(
            app,
            http=HttpProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            **more,
        )
        self.connections = Connections(settings, connection_limit(settings))


class Server(uvicorn.Server):
    """Closes the streams first: uvicorn itself would wait for them, and they end with their runs."""

    config: HttpConfig
    drain_seconds = 0.0
    """Over which the closing is spread, so that their clients do not all come back at once."""

    def __init__(self, config: HttpConfig) -> None:
        super().__init__(config)
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watching = asyncio.create_task(self.config.connections.run())
        self._watching.add_done_callback(self._exit_if_failed)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # takes no new connections from here on
        hub = getattr(self.config.app.state, "hub", None)  # type: ignore[union-attr]
        if hub is not None:
            await hub.drain(self.drain_seconds)
        await super().shutdown(sockets)
        if self._watching is not None:
            await end_tasks([self._watching])

    def _exit_if_failed(self, watching: asyncio.Task[None]) -> None:
        """Without its timer no wait for a client would end: the process does, and its orchestrator starts a new one."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            log.critical("a loop failed", action="connections_failed", **failure(error))
            note_failure()
            self.should_exit = True
