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
from relaykit.api.loading import LoadedSite
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
from relaykit.api.thread_marks import ThreadMarks
from relaykit.api.unstreamed.answer import UnstreamedRequests
from relaykit.api.withdrawals import Withdrawals
from relaykit.shared.clocks import Clocks
from relaykit.shared.endings import Endings
from relaykit.shared.errors import DatabaseUnavailable
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.operating.queue_figures import QueueFigures
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.end import note_failure
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.settings import Settings
from relaykit.shared.site.lifetime import Lifetime, lived
from relaykit.shared.site.loaded_server import LoadedServer
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks, supervised
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
    unstreamed: UnstreamedRequests
    authenticator: RequestAuthenticator
    user: UserServer
    server_loop: ServerLoop
    limits: Limits
    token_box: TokenBox | None
    console: Console | None
    app_state: dict[str, Any]
    """What the lifespan of the site's application has put into its state."""


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
        user, app_state = await _open_site(settings, site, server_loop, stack)
        notices = await stack.enter_async_context(opened(connections=1, reply_timeout_seconds=None))
        runs, queue, marks = AdmissionRuns(database), AdmissionQueue(commands), ThreadMarks(database)
        journals = Journals(commands, JournalTtl.of(settings))
        endings = Endings(settings, database, runs, AwaitedCalls(database), journals, queue, user)
        hub = Hub(journals, commands, notices, settings.tail_max_bytes)
        liveness = LivenessCheck(settings, hub, LivenessProbe(commands, database), journals)
        streams = Streams(settings, hub)
        figures = QueueFigures(commands, database, WorkerRegistry(commands))
        redis_reach = RedisReach(redis_check, database, redis_state := RedisState())
        queue_watch = QueueWatch(settings, commands, figures, redis_reach)
        receipts = Receipts(commands, database, settings.journal_ended_ttl_seconds)
        gate, byte_budget = RequestGate(commands), ByteBudget(commands, settings.caller_bytes_per_minute)
        clocks = Clocks(commands, database)
        each_runs = server_loop, liveness, streams, gate, queue_watch, redis_reach, clocks
        await stack.enter_async_context(_running(hub, receipts, *(each.run for each in each_runs)))
        yield Resources(
            settings=settings,
            database=database,
            runs=runs,
            marks=marks,
            queue=queue,
            redis_reach=redis_reach,
            hub=hub,
            streams=streams,
            queue_watch=queue_watch,
            receipts=receipts,
            endings=endings,
            withdrawals=Withdrawals(database, runs, journals, user),
            admission=_build_admission(endings, runs, queue, receipts),
            unstreamed=UnstreamedRequests(user, queue, runs, marks, endings),
            authenticator=await _open_authenticator(settings, user, server_loop, stack),
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


async def _open_site(
    settings: Settings, site: LoadedSite, server_loop: ServerLoop, stack: AsyncExitStack
) -> tuple[UserServer, dict[str, Any]]:
    """The site's server, whose calls go to its loop, and the state of the site's application."""
    opened = site.ready
    if opened is None:
        lifetime = Lifetime(site.opened, settings.lifespan_seconds)
        opened = await stack.enter_async_context(lived_on(server_loop, lifetime))
    user, app_state = opened
    trace_store(user.server.store)
    return replace(user, loop=server_loop), app_state


async def _open_tokens(settings: Settings, stack: AsyncExitStack) -> Authenticator | None:
    """What verifies tokens; None where none are taken."""
    if settings.jwt_secret is not None:
        return Authenticator(settings, SharedSecret(settings.jwt_secret))
    if settings.jwks_url is not None:
        return Authenticator(settings, await stack.enter_async_context(JwksClient(settings)))
    return None


async def _open_authenticator(
    settings: Settings, user: UserServer, server_loop: ServerLoop, stack: AsyncExitStack
) -> RequestAuthenticator:
    hook = (
        None
        if user.authenticate is None
        else AuthenticationHook(user.authenticate, server_loop, settings.context_seconds)
    )
    return RequestAuthenticator(
        await _open_tokens(settings, stack),
        settings.token_cookie,
        hook,
        CrossSiteCheck(settings),
        are_tokens_local=settings.takes_local_tokens_alone,
    )


@asynccontextmanager
async def _running(
    hub: Hub, receipts: Receipts, *others: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    loops = [asyncio.create_task(run()) for run in (hub.run, receipts.run, *others)]
    try:
        with supervised(loops, _die):
            yield
    finally:
        hub.close()
        await end_tasks(loops)
        with suppress(DatabaseUnavailable):
            await receipts.write()


def _die(failed: dict[str, object]) -> None:
    """Without one of these loops the API serves only in part, so the process ends; its orchestrator starts another."""
    log.critical("a loop of the API failed: the process ends", action="hub_failed", **failed)
    note_failure()
    signal.raise_signal(signal.SIGTERM)
