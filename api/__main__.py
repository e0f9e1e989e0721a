"""`python -m api`: one API process on HOST:PORT, with the settings of the environment."""

from __future__ import annotations

import socket
import sys

import uvicorn

from api.main import create_app
from shared.errors import RelaykitError
from shared.log import configure
from shared.settings import load_settings


class Server(uvicorn.Server):
    """Closes the streams first: uvicorn itself would wait for them, and they end with their runs."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hub = getattr(self.config.app.state, "hub", None)  # type: ignore[union-attr]
        if hub is not None:
            hub.close()
        await super().shutdown(sockets)


def main() -> int:
    try:
        settings = load_settings()
        configure(settings.log_level, settings.log_format)
        app = create_app(settings)
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
    server.run()
    return 0 if server.started else 2


if __name__ == "__main__":
    sys.exit(main())
