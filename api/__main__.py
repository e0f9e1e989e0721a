"""`relaykit api`: one API process on HOST:PORT, with the settings of the environment."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from typing import NoReturn

import structlog

from relaykit.api.http.connections import Connections
from relaykit.api.http.descriptors import connection_limit, raise_descriptor_limit
from relaykit.api.http.server import HttpConfig, Server
from relaykit.api.main import create_app
from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import configure, failure, note_process
from relaykit.shared.process.gc_tuning import settle
from relaykit.shared.process.listener import bind, given_listener
from relaykit.shared.process.main_loop import MainLoop
from relaykit.shared.settings import load_settings
from relaykit.shared.tracing.process import end_tracing, start_tracing

DRAIN_SHARE = 0.8
"""This share of DRAIN_SECONDS is for the streams; the rest is for everything else that has to end."""


log = structlog.get_logger()


def main(loop: MainLoop | None = None) -> int:
    """The status to end with, by `loop.end`."""
    loop = loop or MainLoop()
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format, settings.log_exceptions)
        note_process(process="api")
        raise_descriptor_limit()
        start_tracing("relaykit-api")
        loop.at_end(end_tracing)
        app = create_app(settings)
        config = HttpConfig(
            app,
            Connections(settings, connection_limit(settings)),
            host=settings.host,
            port=settings.port,
            timeout_graceful_shutdown=max(1, int(settings.drain_seconds * (1 - DRAIN_SHARE))),
        )
        settle()
        listener = given_listener() or bind(settings.host, settings.port, "HOST, PORT")
    except RelaykitError as error:
        print(f"relaykit api: {error.code}: {error.message}", file=sys.stderr)
        return 2
    server = Server(config)
    server.delay_seconds = settings.shutdown_delay_seconds
    server.drain_seconds = settings.drain_seconds * DRAIN_SHARE
    try:
        loop.run(_serve(server, listener))
    except SystemExit:  # uvicorn's way to say that the lifespan failed, with a code of its own
        return 2
    except BaseException as error:
        log.critical("the API failed: the process ends", action="api_failed", **failure(error))
        return 1
    return 0 if server.started else 2


async def _serve(server: Server, listener: socket.socket) -> None:
    """uvicorn's own `serve` ends the process by the signal that it got, before anything else could end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    await server._serve([listener])


def run() -> NoReturn:
    """Runs the process to its end."""
    loop = MainLoop()
    loop.end(main(loop))


if __name__ == "__main__":
    run()
