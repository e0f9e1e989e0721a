"""Ground for fuzzing: a Relaykit in a thread of its own, since hypothesis' examples are plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from anyio.from_thread import start_blocking_portal
from chatkit.actions import Action
from chatkit.types import AudioInput, TranscriptionResult, WidgetItem

from relaykit.shared.identity import RequestContext
from relaykit.shared.settings import Settings
from tests.support.servers.protocol_servers import ProtocolServer
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.system import WAIT_SECONDS, System, free_port, make_settings, running


class FuzzedServer(ProtocolServer):
    """Takes whatever ChatKit's models take: a failure is not the server's, then."""

    async def _file(self, attachment_id: str, context: RequestContext) -> str:
        return f"[{attachment_id}]"

    async def transcribe(self, audio_input: AudioInput, context: RequestContext) -> TranscriptionResult:
        return TranscriptionResult(text=audio_input.data.hex())

    def _counted(self, sender: WidgetItem, action: Action[str, Any]) -> WidgetItem:
        return sender


@contextmanager
def served(settings: Settings, *, workers: int = 1) -> Iterator[System]:
    """An API and its workers over real sockets, in an event loop of another thread."""
    system = running(settings, lambda: FuzzedServer(store=None), workers=workers)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(system) as started:
        yield started


@contextmanager
def fresh_settings(
    databases: Databases, redis_databases: RedisDatabases, key_file: Path, attachments: Path, **more: Any
) -> Iterator[Settings]:
    """Settings of a system on clean services, with attachments."""
    with databases.fresh() as database_url, redis_databases.fresh() as redis_url:
        yield make_settings(
            redis_url,
            database_url,
            key_file,
            free_port(),
            attachments_url=f"file://{attachments}",
            attachments_key="k" * 43,
            **more,
        )


@contextmanager
def signed_in(system: System, sub: str = "alice", tenant: str | None = None) -> Iterator[httpx2.Client]:
    """A client that sends its token with every request."""
    with httpx2.Client(base_url=system.urls[0], timeout=WAIT_SECONDS + 10) as client:
        body = {"sub": sub, "tenant": tenant, "ttl_seconds": 3600}
        response = client.post("/dev/token", json=body)
        assert response.status_code == 200, response.text
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        yield client
