"""What a process executes claims with: a worker, and each cell of its quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

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
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.token_box import TokenBox
from relaykit.worker.draining import Draining
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.executor import Executor
from relaykit.worker.execution.stop import Stop
from relaykit.worker.keeper.keeper import Keeper
from relaykit.worker.keeper.worker_view import WorkerView
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim
from relaykit.worker.publishing.publisher import Publisher

RECONNECT_SECONDS = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Execution:
    """The services, opened. The keeper renews `claims`, by run id."""

    claims: dict[str, Claim]
    commands: Redis
    redis_check: RedisCheck
    queue: ClaimQueue
    runs: AttemptRuns
    endings: Endings
    executor: Executor


@asynccontextmanager
async def opened_execution(
    settings: Settings, database: Database, user: UserServer, draining: Draining, *, owns_process: bool
) -> AsyncIterator[Execution]:
    """Opens the services; renews claims, publishes and hears stops. Asks for a drain where one of these fails.

    `owns_process`: it may end the process, where a call blocks the event loop.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(database)
        opened = partial(open_redis, settings.redis_url, deployment=settings.deployment)
        commands = await stack.enter_async_context(opened(connections=4))
        redis_check = RedisCheck(commands, database.identity)
        await redis_check.start()
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
        executor = Executor(settings, runs, journals, publisher, endings, user, box)
        claims: dict[str, Claim] = {}
        view = _worker_view(claims, executor, redis_check, database, draining)
        keeper = Keeper(settings, view, owns_process=owns_process)
        ended = await stack.enter_async_context(keeper.running())
        loops = [publisher.run(), _hear_signals(signals, executor), _failed(ended)]
        await stack.enter_async_context(running_loops(loops, draining.ask))
        yield Execution(claims, commands, redis_check, queue, runs, endings, executor)


@asynccontextmanager
async def running_loops(
    loops: Sequence[Coroutine[Any, Any, None]], drain: Callable[[], None]
) -> AsyncIterator[None]:
    """Keeps the loops running; one that fails drains the process, whose runs go to others."""

    def on_end(loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()) is not None:
            log.critical(
                "a loop of the worker failed: the worker drains",
                action="loop_failed",
                **failure(error),
            )
            note_failure()
            drain()

    tasks = [asyncio.create_task(loop) for loop in loops]
    for task in tasks:
        task.add_done_callback(on_end)
    try:
        yield
    finally:
        await end_tasks(tasks)


def _worker_view(
    claims: Mapping[str, Claim],
    executor: Executor,
    redis_check: RedisCheck,
    database: Database,
    draining: Draining,
) -> WorkerView:
    def stop(claim: Claim, reason: Stop) -> None:
        attempt = executor.attempts.get(claim.run_id)
        if attempt is not None and claims.get(claim.run_id) is claim:
            attempt.stop(reason)

    async def check() -> None:
        await redis_check.ready()
        await database.check()

    return WorkerView(claims, stop, check, draining.asked.is_set, lambda: draining.ends_by)


async def _failed(ended: asyncio.Future[None]) -> None:
    """Raises what the keeper has failed with."""
    await asyncio.wait([ended])
    ended.result()


async def _hear_signals(redis: Redis, executor: Executor) -> None:
    """Stops the attempt that a cancel signal names, if it is here. A missed signal is found by the heartbeat."""
    channel = names_of(redis)(keys.SIGNALS)
    while True:
        try:
            async with subscribed(redis, lambda pubsub: pubsub.subscribe(channel)) as pubsub:
                async for batch in messages(pubsub):
                    for message in batch:
                        if message["type"] == "message":
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
