"""What the API's routes use: opened in order by the lifespan, closed in reverse."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from chatkit.server import ChatKitServer

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.writers.foreign import ForeignWriter
from relaykit.api.admission.writers.postgres import PostgresWriter
from relaykit.api.admission.writers.writer import AdmissionWriter
from relaykit.api.auth.authenticator import Authenticator
from relaykit.api.auth.jwks import JwksClient
from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.caller_limits import Limits
from relaykit.api.limits.request_gate import RequestGate
from relaykit.api.receipts import Receipts
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.liveness import LivenessCheck
from relaykit.api.relay.liveness_probe import LivenessProbe
from relaykit.api.relay.stream import Streams
from relaykit.api.site.server_loop import ServerLoop
from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.attachments.store import build_attachment_store, build_previews
from relaykit.shared.endings import Endings
from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.end import note_failure
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer, load_server
from relaykit.shared.tasks import end_tasks
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.shared.token_box import TokenBox

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    settings: Settings
    database: Database
    runs: AdmissionRuns
    queue: AdmissionQueue
    redis_check: RedisCheck
    hub: Hub
    streams: Streams
    receipts: Receipts
    endings: Endings
    admission: Admission
    authenticator: Authenticator
    user: UserServer
    server_loop: ServerLoop
    limits: Limits
    token_box: TokenBox | None


@asynccontextmanager
async def open_resources(
    settings: Settings, database: Database, loaded: UserServer, server_loop: ServerLoop
) -> AsyncIterator[Resources]:
    """Two connections to Redis, one for commands and one for notices, and the pools to PostgreSQL."""
    user = replace(loaded, loop=server_loop)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server_loop)
        await stack.enter_async_context(database)
        opened = partial(open_redis, settings.redis_url, deployment=settings.deployment)
        commands = await stack.enter_async_context(opened(connections=1))
        redis_check = RedisCheck(commands, database.identity)
        await redis_check.start()
        notices = await stack.enter_async_context(opened(connections=1, reply_timeout_seconds=None))
        jwks = await stack.enter_async_context(JwksClient(settings))
        runs, queue = AdmissionRuns(database), AdmissionQueue(commands)
        journals = Journals(commands, JournalTtl.of(settings))
        calls = AwaitedCalls(database)
        endings = Endings(settings, database, runs, calls, journals, queue, user)
        hub = Hub(journals, commands, notices, settings.tail_max_bytes)
        liveness = LivenessCheck(settings, hub, LivenessProbe(commands, database), journals)
        streams = Streams(settings, hub)
        receipts = Receipts(commands, database, settings.journal_ended_ttl_seconds)
        writer: AdmissionWriter = (
            ForeignWriter(settings, database, runs, queue, calls, user)
            if user.our_store is None
            else PostgresWriter(settings, database, runs, calls, user)
        )
        earlier = EarlierRuns(runs, journals, receipts, settings.journal_ended_ttl_seconds)
        gate = RequestGate(commands)
        await stack.enter_async_context(_running(server_loop, hub, liveness, streams, receipts, gate))
        yield Resources(
            settings=settings,
            database=database,
            runs=runs,
            queue=queue,
            redis_check=redis_check,
            hub=hub,
            streams=streams,
            receipts=receipts,
            endings=endings,
            admission=Admission(settings, runs, journals, queue, endings, earlier, writer),
            authenticator=Authenticator(settings, jwks),
            user=user,
            server_loop=server_loop,
            limits=Limits(settings, gate, ByteBudget(commands, settings.caller_bytes_per_minute)),
            token_box=TokenBox.of(settings.forward_token_key),
        )


def build_user_server(
    settings: Settings,
    database: Database,
    objects: AttachmentObjects | None,
    instance: ChatKitServer[Any] | None,
) -> UserServer:
    """The user's server on our store. Raises ServerLoadError."""
    calls = StoreCalls(database)
    store = PostgresStore(calls, previews=build_previews(settings), page_max_bytes=settings.page_max_bytes)
    return load_server(settings, store, build_attachment_store(settings, database, objects, calls), instance)


@asynccontextmanager
async def _running(
    server_loop: ServerLoop,
    hub: Hub,
    liveness: LivenessCheck,
    streams: Streams,
    receipts: Receipts,
    gate: RequestGate,
) -> AsyncIterator[None]:
    loops = [
        asyncio.create_task(each.run()) for each in (server_loop, hub, liveness, streams, receipts, gate)
    ]
    for loop in loops:
        loop.add_done_callback(_die_if_failed)
    try:
        yield
    finally:
        hub.close()
        await end_tasks(loops)
        with suppress(DatabaseUnavailable):
            await receipts.write()


def _die_if_failed(loop: asyncio.Task[None]) -> None:
    """A hub that has stopped serves no client: the process ends, and its orchestrator starts a new one."""
    if not loop.cancelled() and (error := loop.exception()) is not None:
        log.critical("a loop of the API failed: the process ends", action="hub_failed", **failure(error))
        note_failure()
        signal.raise_signal(signal.SIGTERM)
