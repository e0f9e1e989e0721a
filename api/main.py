"""Builds the API as an application. Here and in resources.py, which opens what it needs, this side is wired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import structlog
from chatkit.server import ChatKitServer
from fastapi import Depends, FastAPI

from relaykit.api.http.detached_streams import Application
from relaykit.api.http.errors import install_error_handlers
from relaykit.api.http.headers import add_http_headers
from relaykit.api.http.reconnect_limiter import limit_reconnects
from relaykit.api.loading import LoadedSite, load_site
from relaykit.api.local.issuer import LocalIssuer, dev_router, require_local
from relaykit.api.local.page import page_router
from relaykit.api.local.page_options import page_options
from relaykit.api.openapi.chatkit import request_definitions
from relaykit.api.openapi.responses import describe
from relaykit.api.resources import open_resources
from relaykit.api.routes import chatkit as chatkit_endpoint
from relaykit.api.routes import health, ops, runs
from relaykit.api.routes.attachments import attachments_router
from relaykit.api.routes.ops_page import ops_page_router
from relaykit.api.routes.request import caller_context
from relaykit.api.site.server_loop import ServerLoop
from relaykit.api.site_app.loaded_app import own_segments, tell_hidden_routes
from relaykit.api.site_app.site_app import SiteApp
from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.attachments.store import open_attachment_objects
from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.version import VERSION

log = structlog.get_logger()


def create_app(settings: Settings, server: ChatKitServer[Any] | None = None) -> FastAPI:
    """The API as an ASGI application; opens nothing until its lifespan starts, but for the thread of the server's code.

    `server` is taken as it is, instead of the one that CHATKIT_SERVER names. Raises ServerLoadError.
    """
    database = Database(settings, is_shared=True)
    server_loop = ServerLoop(settings, database)
    objects = open_attachment_objects(settings, database)
    site = server_loop.load(lambda: load_site(settings, database, objects, server))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            with _failure_logged():
                resources = await stack.enter_async_context(
                    open_resources(settings, database, site, server_loop)
                )
            app.state.hub = resources.hub
            if settings.local_issuer_key_file is not None:
                with _failure_logged():
                    app.state.page_options = page_options(resources.user.server)
            if site.app is not None:
                ours = own_segments(relaying)
                tell_hidden_routes(site.app, ours)
                caller = partial(caller_context, resources)
                relaying.other = SiteApp(site.app, resources.app_state, server_loop, caller, ours)
            yield {"resources": resources}
        log.info("api stopped", action="api_stop")

    app = relaying = Application(
        title="Relaykit",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_routes(app, settings, objects, site)
    add_http_headers(app, settings)
    install_error_handlers(app)
    limit_reconnects(app)
    describe(app, request_definitions)
    return app


def _add_routes(
    app: FastAPI, settings: Settings, objects: AttachmentObjects | None, site: LoadedSite
) -> None:
    app.include_router(chatkit_endpoint.router)
    app.include_router(runs.router)
    app.include_router(health.router)
    app.include_router(attachments_router(settings, objects))
    if settings.ops_claim is not None:
        is_local = settings.local_issuer_key_file is not None
        app.include_router(ops.router)
        app.include_router(
            ops_page_router(is_local=is_local, dependencies=[Depends(require_local)] if is_local else [])
        )
    if settings.local_issuer_key_file is not None:
        app.include_router(dev_router(LocalIssuer(settings, settings.local_issuer_key_file)))
        app.include_router(page_router(at_root=not site.has_page))


@contextmanager
def _failure_logged() -> Iterator[None]:
    """What keeps the process from starting leaves the block, and a line in the log."""
    try:
        yield
    except RelaykitError as error:
        log.error(  # noqa: TRY400
            "the API cannot start: the process ends",
            action="api_start",
            code=error.code,
            reason=error.message,
        )
        raise
    except Exception as error:
        log.critical(
            "the API cannot start: the process ends",
            action="api_start",
            code=RelaykitError.code,
            **failure(error),
        )
        raise
