"""`python -m api`: one API process on HOST:PORT, with the settings of the environment."""

from __future__ import annotations

import socket
import sys

import uvicorn

from api.main import create_app
from shared.errors import RelaykitError, SettingsError
from shared.log import configure
from shared.settings import Settings, load_settings


class Server(uvicorn.Server):
    """Closes the streams first: uvicorn itself would wait for them, and they end with their runs."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hub = getattr(self.config.app.state, "hub", None)  # type: ignore[union-attr]
        if hub is not None:
            hub.close()
        await super().shutdown(sockets)


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
        app = create_app(settings)
        listener = _bound(settings)
    except RelaykitError as error:
        print(f"relaykit api: {error.code}: {error.message}", file=sys.stderr)
        return 2
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, int(settings.drain_seconds)),
    )
    server = Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 2


if __name__ == "__main__":
    sys.exit(main())
