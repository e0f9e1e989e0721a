"""What a process executes claims with: a worker, and each cell of its quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import structlog

from relaykit.shared.clocks import REDIS, Clocks
from relaykit.shared.endings import Endings
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.log import failure
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.end import note_failure
from relaykit.shared.redis import keys
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import Redis, names_of, open_redis
from relaykit.shared.redis.pubsub import messages, subscribed
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.settings import Settings
from relaykit.shared.site.lifetime import Lifetime, lived
from relaykit.shared.site.loaded_server import LoadedServer
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks, supervised
from relaykit.shared.token_box import TokenBox
from relaykit.shared.tracing.stores import trace_store
from relaykit.worker.draining import Draining
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.cancel_handler import install_cancel_handler
from relaykit.worker.execution.executor import Executor
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.telemetry.figures import Report, observe
from relaykit.worker.execution.telemetry.model_calls import count_model_calls
from relaykit.worker.execution.telemetry.model_spans import trace_model_calls
from relaykit.worker.keeper.keeper import Keeper
from relaykit.worker.keeper.worker_view import Occupancy, WorkerView
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim
from relaykit.worker.publishing.publisher import Publisher

RECONNECT_SECONDS = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Execution:
    """The services, opened. The keeper renews `claims`, by run id."""

    id: str
    """The process of its claims."""
    occupancy: Occupancy
    claims: dict[str, Claim]
    commands: Redis
    redis_check: RedisCheck
    queue: ClaimQueue
    runs: AttemptRuns
    endings: Endings
    executor: Executor


@asynccontextmanager
async def opened_execution(
    settings: Settings,
    database: Database,
    loaded: LoadedServer,
    draining: Draining,
    *,
    owns_process: bool,
    is_registered: bool = False,
    report: Report = observe,
) -> AsyncIterator[Execution]:
    """Opens the services and the site; renews claims, publishes and hears stops. Drains where one of these fails.

    `owns_process`: it may end the process, where a call blocks the event loop. `is_registered`: WorkerRegistry has it.
    `report` takes the figures of each attempt that has ended.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database)
        opened = partial(open_redis, settings.redis_url, deployment=settings.deployment)
        commands = await stack.enter_async_context(opened(connections=4))
        redis_check = RedisCheck(commands, database.identity)
        await redis_check.start()
        user = await _open_site(settings, loaded, stack, owns_process=owns_process)
        install_cancel_handler(user.server)
        count_model_calls()
        trace_model_calls()
        trace_store(user.server.store)
        signals = await stack.enter_async_context(opened(connections=1, reply_timeout_seconds=None))
        runs, journals, queue = (
            AttemptRuns(database),
            Journals(commands, JournalTtl.of(settings)),
            ClaimQueue(commands),
        )
        await journals.load_scripts()
        publisher = Publisher(commands, journals, settings)
        endings = Endings(settings, database, runs, AwaitedCalls(database), journals, queue, user)
        box = TokenBox.of(settings.forward_token_key)
        executor = Executor(settings, runs, journals, publisher, endings, user, box, report)
        claims: dict[str, Claim] = {}
        process_id, occupancy = uuid4().hex, Occupancy()
        clocks = Clocks(commands, database)
        view = _worker_view(process_id, claims, occupancy, executor, redis_check, database, draining, clocks)
        keeper = Keeper(settings, view, owns_process=owns_process, is_registered=is_registered)
        ended = await stack.enter_async_context(keeper.running())
        loops = [publisher.run(), _hear_signals(signals, executor, process_id, draining), _failed(ended)]
        if is_registered:
            loops.append(clocks.run())
        await stack.enter_async_context(running_loops(loops, draining.ask))
        yield Execution(process_id, occupancy, claims, commands, redis_check, queue, runs, endings, executor)


async def _open_site(
    settings: Settings, loaded: LoadedServer, stack: AsyncExitStack, *, owns_process: bool
) -> UserServer:
    if loaded.user is not None:
        return loaded.user
    lifetime = Lifetime(loaded.opened, settings.lifespan_seconds)
    return await stack.enter_async_context(lived(lifetime, owns_process=owns_process))


@asynccontextmanager
async def running_loops(
    loops: Sequence[Coroutine[Any, Any, None]], drain: Callable[[], None]
) -> AsyncIterator[None]:
    """Keeps the loops running; one that ends before the block drains the process, whose runs go to others."""

    def tell(failed: dict[str, object]) -> None:
        log.critical("a loop of the worker failed: the worker drains", action="loop_failed", **failed)
        note_failure()
        drain()

    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        with supervised(tasks, tell):
            yield
    finally:
        await end_tasks(tasks)


def _worker_view(
    process_id: str,
    claims: Mapping[str, Claim],
    occupancy: Occupancy,
    executor: Executor,
    redis_check: RedisCheck,
    database: Database,
    draining: Draining,
    clocks: Clocks,
) -> WorkerView:
    def stop(claim: Claim, reason: Stop) -> None:
        attempt = executor.attempts.get(claim.run_id)
        if attempt is not None and claims.get(claim.run_id) is claim:
            attempt.stop(reason)

    async def check() -> None:
        await redis_check.ready()
        await database.check()

    return WorkerView(
        id=process_id,
        claims=claims,
        occupancy=occupancy,
        stop=stop,
        check=check,
        clock_offset=lambda: clocks.offsets[REDIS],
        is_draining=draining.asked.is_set,
        ends_by=lambda: draining.ends_by,
    )


async def _failed(ended: asyncio.Future[None]) -> None:
    """Raises what the keeper has failed with."""
    await asyncio.wait([ended])
    ended.result()


async def _hear_signals(redis: Redis, executor: Executor, process_id: str, draining: Draining) -> None:
    """Stops the attempt that a cancel signal names, if it is here. A missed signal is found by the heartbeat.

    A signal to drain that names this process is as good as SIGTERM.
    """
    channel = names_of(redis)(keys.SIGNALS)
    drain = keys.drain_signal(process_id).encode()
    while True:
        try:
            async with subscribed(redis, lambda pubsub: pubsub.subscribe(channel)) as pubsub:
                async for batch in messages(pubsub):
                    for message in batch:
                        if message["type"] != "message":
                            continue
                        if message["data"] == drain:
                            draining.ask_by_signal(asyncio.get_running_loop())
                        else:
                            _signal(executor, message["data"])
        except QueueUnavailable as error:
            log.warning(
                "the connection for stop signals was lost: it is opened again",
                action="signals_reconnect",
                **failure(error),
            )
        await asyncio.sleep(RECONNECT_SECONDS)


def _signal(executor: Executor, data: bytes) -> None:
    attempt = executor.attempts.get(data.decode(errors="replace"))
    if attempt is not None:
        attempt.stop(Stop.USER)
