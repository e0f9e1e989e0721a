"""`python -m api`: one API process on HOST:PORT, with the settings of the environment."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

from api.descriptors import raise_descriptor_limit
from api.http_server import HttpConfig, Server
from api.main import create_app
from shared.errors import RelaykitError, SettingsError
from shared.garbage import settle
from shared.log import configure
from shared.settings import Settings, load_settings

DRAIN_SHARE = 0.8
"""Of DRAIN_SECONDS; the rest is for what is left."""


def _bound(settings: Settings) -> socket.socket:
    """A socket on HOST:PORT that does not listen yet. Raises SettingsError where the address cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"HOST, PORT: cannot listen there ({error.strerror})") from error
    return listener


def main() -> int:
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        app = create_app(settings)
        config = HttpConfig(
            app,
            settings,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            timeout_graceful_shutdown=max(1, int(settings.drain_seconds * (1 - DRAIN_SHARE))),
        )
        settle()
        listener = _bound(settings)
    except RelaykitError as error:
        print(f"relaykit api: {error.code}: {error.message}", file=sys.stderr)
        return 2
    server = Server(config)
    server.delay_seconds = settings.shutdown_delay_seconds
    server.drain_seconds = settings.drain_seconds * DRAIN_SHARE
    with suppress(SystemExit):  # uvicorn's way to say that the lifespan failed, with a code of its own
        server.run(sockets=[listener])
    return 0 if server.started else 2


if __name__ == "__main__":
    sys.exit(main())
