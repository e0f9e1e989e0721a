"""The site's server with our store, for a process that executes runs."""

from __future__ import annotations

from typing import Any

from chatkit.server import ChatKitServer

from relaykit.shared.attachments.store import (
    ObjectAttachmentStore,
    build_attachment_store,
    build_previews,
    open_attachment_objects,
)
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.site.loaded_server import LoadedServer, load_server
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.execution.current_attempt import (
    calling_store,
    is_executing,
    note_given_id,
    note_stored_item,
)


def load(
    settings: Settings, server: ChatKitServer[Any] | None = None
) -> tuple[Database, LoadedServer, ObjectAttachmentStore | None]:
    """The user's server with our store, and what that stands on, still closed. Raises ServerLoadError."""
    database = Database(settings)
    calls = StoreCalls(database, waits=is_executing, calling=calling_store)
    objects = open_attachment_objects(settings, database)
    attachment_store = build_attachment_store(settings, database, objects, calls)
    store = PostgresStore(
        calls,
        given=note_given_id,
        previews=build_previews(settings),
        page_max_bytes=settings.page_max_bytes,
        stored=note_stored_item,
    )
    process = SiteProcess("worker", settings, store, attachment_store)
    return database, load_server(process, server), attachment_store
