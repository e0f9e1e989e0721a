"""Wires the API. The only place of this side that does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from chatkit.server import ChatKitServer
from fastapi import FastAPI

from relaykit.api import chatkit_endpoint, health, runs
from relaykit.api.application import Application
from relaykit.api.attachments import attachments_router
from relaykit.api.chatkit_openapi import request_definitions
from relaykit.api.descriptors import descriptor_limit
from relaykit.api.dev import dev_router
from relaykit.api.errors import install_error_handlers
from relaykit.api.http_headers import add_http_headers
from relaykit.api.openapi import describe
from relaykit.api.page import page_router
from relaykit.api.resources import build_user_server, open_resources
from relaykit.api.server_loop import ServerLoop
from relaykit.api.turns import take_turns
from relaykit.shared.database import Database
from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import failure
from relaykit.shared.settings import Settings
from relaykit.shared.version import VERSION

log = structlog.get_logger()


def create_app(settings: Settings, server: ChatKitServer[Any] | None = None) -> FastAPI:
    """The API as an ASGI application; opens nothing until its lifespan starts, but for the thread of the server's code.

    `server` is taken as it is, instead of the one that CHATKIT_SERVER names. Raises ServerLoadError.
    """
    database = Database(settings, is_shared=True)
    server_loop = ServerLoop(settings, database)
    user = server_loop.load(lambda: build_user_server(settings, database, server))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            try:
                resources = await stack.enter_async_context(
                    open_resources(settings, database, user, server_loop)
                )
            except RelaykitError as error:
                log.error("cannot start", action="api_start", code=error.code, reason=error.message)  # noqa: TRY400
                raise
            except Exception as error:
                log.critical("cannot start", action="api_start", code=RelaykitError.code, **failure(error))
                raise
            app.state.hub = resources.hub
            log.info(
                "api started",
                action="api_start",
                host=settings.host,
                port=settings.port,
                descriptors=descriptor_limit(),
            )
            yield {"resources": resources}
        log.info("api stopped", action="api_stop")

    app = Application(
        title="Relaykit",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(chatkit_endpoint.router)
    app.include_router(runs.router)
    app.include_router(health.router)
    app.include_router(attachments_router(settings, database))
    if settings.local_issuer_key_file is not None:
        app.include_router(dev_router(settings))
        app.include_router(page_router())
    add_http_headers(app, settings)
    install_error_handlers(app)
    take_turns(app)
    describe(app, request_definitions)
    return app
