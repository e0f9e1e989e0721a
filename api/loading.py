"""The site's server with our store, and its application, for an API and for what does an API's work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chatkit.server import ChatKitServer
from starlette.types import ASGIApp

from relaykit.api.site_app.app_lifespan import app_lifespan
from relaykit.api.site_app.loaded_app import app_label, has_page, load_app
from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.attachments.store import build_attachment_store, build_previews
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.site.loaded_server import LoadedServer, load_server
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """The site's code, as far as it is there before its loop runs."""

    server: LoadedServer
    app: ASGIApp | None
    has_page: bool = False
    """Whether the application has something at `/`."""

    @property
    def ready(self) -> tuple[UserServer, dict[str, Any]] | None:
        """What `opened` gives, where nothing of it needs the loop to begin or to end."""
        user = self.server.user
        return None if user is None or self.app is not None else (user, {})

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[UserServer, dict[str, Any]]]:
        """The server, and the state of the application. Raises as `LoadedServer.opened` and `app_lifespan` do."""
        async with self.server.opened() as user:
            if self.app is None:
                yield user, {}
                return
            async with app_lifespan(self.app, app_label(self.server.process.settings)) as state:
                yield user, state


def load_site(
    settings: Settings,
    database: Database,
    objects: AttachmentObjects | None,
    instance: ChatKitServer[Any] | None,
) -> LoadedSite:
    """The user's server on our store, and the site's application. Raises ServerLoadError."""
    server, app = load_api_server(settings, database, objects, instance), load_app(settings)
    return LoadedSite(server, app, has_page=has_page(app, settings))


def load_api_server(
    settings: Settings,
    database: Database,
    objects: AttachmentObjects | None,
    instance: ChatKitServer[Any] | None = None,
) -> LoadedServer:
    """The user's server on our store. Raises ServerLoadError."""
    calls = StoreCalls(database)
    store = PostgresStore(calls, previews=build_previews(settings), page_max_bytes=settings.page_max_bytes)
    attachment_store = build_attachment_store(settings, database, objects, calls)
    return load_server(SiteProcess("api", settings, store, attachment_store), instance)
