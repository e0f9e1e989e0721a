"""What the API's routes use: opened in order by the lifespan, closed in reverse."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from chatkit.server import ChatKitServer
from starlette.types import ASGIApp

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.writers.foreign import ForeignWriter
from relaykit.api.admission.writers.postgres import PostgresWriter
from relaykit.api.admission.writers.writer import AdmissionWriter
from relaykit.api.auth.authenticator import Authenticator
from relaykit.api.auth.cross_site import CrossSiteCheck
from relaykit.api.auth.hook import AuthenticationHook
from relaykit.api.auth.jwks import JwksClient
from relaykit.api.auth.request_authenticator import RequestAuthenticator
from relaykit.api.auth.shared_secret import SharedSecret
from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.caller_limits import Limits
from relaykit.api.limits.local_rates import LocalRates
from relaykit.api.limits.request_gate import RequestGate
from relaykit.api.ops.console import Console
from relaykit.api.ops.wiring import opened_console
from relaykit.api.queue_watch import QueueWatch
from relaykit.api.receipts import Receipts
from relaykit.api.redis_reach import RedisReach, RedisState
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.liveness import LivenessCheck
from relaykit.api.relay.liveness_probe import LivenessProbe
from relaykit.api.relay.stream import Streams
from relaykit.api.site.server_loop import ServerLoop
from relaykit.api.site.site_lifetime import lived_on
from relaykit.api.site_app.app_lifespan import app_lifespan
from relaykit.api.site_app.loaded_app import app_label, has_page, load_app
from relaykit.api.thread_marks import ThreadMarks
from relaykit.api.withdrawals import Withdrawals
from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.attachments.store import build_attachment_store, build_previews
from relaykit.shared.endings import Endings
from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.log import failure
from relaykit.shared.operating.clocks import Clocks
from relaykit.shared.operating.queue_figures import QueueFigures
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.end import note_failure
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.settings import Settings
from relaykit.shared.site.lifetime import Lifetime, lived
from relaykit.shared.site.loaded_server import LoadedServer, load_server
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.shared.token_box import TokenBox
from relaykit.shared.tracing.stores import trace_store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    settings: Settings
    database: Database
    runs: AdmissionRuns
    marks: ThreadMarks
    queue: AdmissionQueue
    redis_reach: RedisReach
    hub: Hub
    streams: Streams
    queue_watch: QueueWatch
    receipts: Receipts
    endings: Endings
    withdrawals: Withdrawals
    admission: Admission
    authenticator: RequestAuthenticator
    user: UserServer
    server_loop: ServerLoop
    limits: Limits
    token_box: TokenBox | None
    console: Console | None
    app_state: dict[str, Any]
    """What the lifespan of the site's application has put into its state."""


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


@asynccontextmanager
async def open_resources(
    settings: Settings, database: Database, site: LoadedSite, server_loop: ServerLoop
) -> AsyncIterator[Resources]:
    """Two connections to Redis, for commands and for notices, with a console a third; the pools to PostgreSQL."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server_loop)
        await stack.enter_async_context(database)
        opened = partial(open_redis, settings.redis_url, deployment=settings.deployment)
        commands = await stack.enter_async_context(opened(connections=1))
        redis_check = RedisCheck(commands, database.identity)
        await redis_check.start()
        opened_site = site.ready
        if opened_site is None:
            lifetime = Lifetime(site.opened, settings.lifespan_seconds)
            opened_site = await stack.enter_async_context(lived_on(server_loop, lifetime))
        user, app_state = replace(opened_site[0], loop=server_loop), opened_site[1]
        trace_store(user.server.store)
        notices = await stack.enter_async_context(opened(connections=1, reply_timeout_seconds=None))
        tokens = await _open_tokens(settings, stack)
        runs, queue = AdmissionRuns(database), AdmissionQueue(commands)
        journals = Journals(commands, JournalTtl.of(settings))
        calls = AwaitedCalls(database)
        endings = Endings(settings, database, runs, calls, journals, queue, user)
        hub = Hub(journals, commands, notices, settings.tail_max_bytes)
        liveness = LivenessCheck(settings, hub, LivenessProbe(commands, database), journals)
        streams = Streams(settings, hub)
        figures = QueueFigures(commands, database, WorkerRegistry(commands))
        redis_state = RedisState()
        redis_reach = RedisReach(redis_check, database, redis_state)
        queue_watch = QueueWatch(settings, commands, figures, redis_reach)
        receipts = Receipts(commands, database, settings.journal_ended_ttl_seconds)
        gate = RequestGate(commands)
        byte_budget = ByteBudget(commands, settings.caller_bytes_per_minute)
        clocks = Clocks(commands, database)
        each_runs = server_loop, liveness, streams, gate, queue_watch, redis_reach, clocks
        await stack.enter_async_context(_running(hub, receipts, *(each.run for each in each_runs)))
        yield Resources(
            settings=settings,
            database=database,
            runs=runs,
            marks=ThreadMarks(database),
            queue=queue,
            redis_reach=redis_reach,
            hub=hub,
            streams=streams,
            queue_watch=queue_watch,
            receipts=receipts,
            endings=endings,
            withdrawals=Withdrawals(database, runs, journals, user),
            admission=_build_admission(endings, runs, queue, receipts),
            authenticator=_build_authenticator(settings, tokens, user, server_loop),
            user=user,
            server_loop=server_loop,
            limits=Limits(settings, gate, byte_budget, redis_state, LocalRates()),
            token_box=TokenBox.of(settings.forward_token_key),
            console=await stack.enter_async_context(opened_console(settings, database, clocks)),
            app_state=app_state,
        )


@asynccontextmanager
async def opened_admission(
    settings: Settings, database: Database, server: LoadedServer
) -> AsyncIterator[Admission]:
    """Admission without anything else of an API, for an operator's command. `database` is open.

    Raises ServerLoadError, QueueUnavailable, SettingsError.
    """
    async with AsyncExitStack() as stack:
        commands = await stack.enter_async_context(
            open_redis(settings.redis_url, deployment=settings.deployment, connections=1)
        )
        await RedisCheck(commands, database.identity).start()
        user = server.user
        if user is None:
            lifetime = Lifetime(server.opened, settings.lifespan_seconds)
            user = await stack.enter_async_context(lived(lifetime, owns_process=True))
        runs, queue = AdmissionRuns(database), AdmissionQueue(commands)
        journals = Journals(commands, JournalTtl.of(settings))
        endings = Endings(settings, database, runs, AwaitedCalls(database), journals, queue, user)
        receipts = Receipts(commands, database, settings.journal_ended_ttl_seconds)
        yield _build_admission(endings, runs, queue, receipts)


def _build_admission(
    endings: Endings, runs: AdmissionRuns, queue: AdmissionQueue, receipts: Receipts
) -> Admission:
    """On what ends runs, which has the services already."""
    settings, database, calls, user = endings.settings, endings.database, endings.calls, endings.user
    writer: AdmissionWriter = (
        ForeignWriter(settings, database, runs, queue, calls, user)
        if user.our_store is None
        else PostgresWriter(settings, database, runs, calls, user)
    )
    earlier = EarlierRuns(runs, endings.journals, receipts, settings.journal_ended_ttl_seconds)
    return Admission(settings, runs, endings.journals, queue, endings, earlier, writer)


async def _open_tokens(settings: Settings, stack: AsyncExitStack) -> Authenticator | None:
    """What verifies tokens; None where none are taken."""
    if settings.jwt_secret is not None:
        return Authenticator(settings, SharedSecret(settings.jwt_secret))
    if settings.jwks_url is not None:
        return Authenticator(settings, await stack.enter_async_context(JwksClient(settings)))
    return None


def _build_authenticator(
    settings: Settings, tokens: Authenticator | None, user: UserServer, server_loop: ServerLoop
) -> RequestAuthenticator:
    hook = (
        None
        if user.authenticate is None
        else AuthenticationHook(user.authenticate, server_loop, settings.context_seconds)
    )
    return RequestAuthenticator(
        tokens,
        settings.token_cookie,
        hook,
        CrossSiteCheck(settings),
        are_tokens_local=settings.takes_local_tokens_alone,
    )


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


@asynccontextmanager
async def _running(
    hub: Hub, receipts: Receipts, *others: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    loops = [asyncio.create_task(run()) for run in (hub.run, receipts.run, *others)]
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
