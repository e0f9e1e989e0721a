"""Wires the worker. The only place of this side that does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from arq.connections import ArqRedis
from chatkit.server import ChatKitServer

from shared import keys
from shared.attachments import ObjectAttachmentStore, build_attachment_store, build_previews
from shared.chatkit import UserServer, load_server
from shared.database import Database
from shared.ending import Endings
from shared.errors import QueueUnavailable
from shared.journal import Journals
from shared.listen import heard, listening
from shared.log import failure
from shared.queue import Queue, deserialize, serialize
from shared.redis import REPLY_TIMEOUT_SECONDS, Redis, names_of, open_redis
from shared.redis_check import RedisCheck
from shared.run_rows import Runs
from shared.settings import Settings
from shared.store import PostgresStore
from shared.store_calls import StoreCalls
from shared.tasks import end_tasks
from worker.arq_worker import BELL_SECONDS, ArqWorker
from worker.executor import Executor
from worker.heartbeat import Heartbeat
from worker.publisher import Publisher
from worker.reaper import Reaper
from worker.server_events import note_given_id
from worker.stop import Stop, calling_store, guard, is_executing

RECONNECT_SECONDS = 0.2

log = structlog.get_logger()


def create_worker(settings: Settings, server: ChatKitServer[Any] | None = None) -> RunWorker:
    """A worker that opens nothing until `run`. `server` is taken as it is, instead of CHATKIT_SERVER.

    Raises ServerLoadError.
    """
    database = Database(settings)
    calls = StoreCalls(database, waits=is_executing, calling=calling_store)
    attachment_store = build_attachment_store(settings, database, calls)
    store = PostgresStore(
        database,
        calls,
        given=note_given_id,
        previews=build_previews(settings),
        page_max_bytes=settings.page_max_bytes,
    )
    user = load_server(settings, store, attachment_store, server)
    guard(user.server)
    return RunWorker(settings, database, user, attachment_store)


class RunWorker:
    """One worker process's life: `run` until `drain`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        user: UserServer,
        attachments: ObjectAttachmentStore | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._user = user
        self._attachments = attachments
        self._stopping = asyncio.Event()

    def drain(self) -> None:
        """Claim nothing more; let runs finish for DRAIN_SECONDS, hand the rest back, end."""
        self._stopping.set()

    async def run(self) -> None:
        """Serves until `drain`. Raises SettingsError, DatabaseUnavailable or QueueUnavailable where it cannot start."""
        async with self._opened() as (arq_worker, executor):
            log.info("worker started", action="worker_start", max_runs=self._settings.max_runs)
            polling = asyncio.create_task(arq_worker.async_run())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                stopping.cancel()
                await polling  # it ends by itself only where it fails
            await self._drain(arq_worker, executor)
            await end_tasks([polling])
        log.info("worker stopped", action="worker_stop")

    async def _drain(self, arq_worker: ArqWorker, executor: Executor) -> None:
        log.info("draining", action="worker_drain", runs=len(executor.attempts))
        await arq_worker.stop_claiming()
        await arq_worker.jobs_ended(self._settings.drain_seconds)
        executor.drain()
        await arq_worker.jobs_ended(self._settings.lease_seconds)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[ArqWorker, Executor]]:
        settings, database = self._settings, self._database
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            opened = partial(open_redis, settings.redis_url, deployment=settings.deployment)
            commands = await stack.enter_async_context(opened(connections=4))
            redis_check = RedisCheck(commands, database.identity)
            await redis_check.start()
            bell = await stack.enter_async_context(
                opened(connections=1, reply_timeout_seconds=BELL_SECONDS + REPLY_TIMEOUT_SECONDS)
            )
            signals = await stack.enter_async_context(opened(connections=1, reply_timeout_seconds=None))
            runs, journals, queue = Runs(database), Journals(commands), Queue(commands)
            await journals.load_scripts()
            publisher = Publisher(commands, journals, settings)
            endings = Endings(settings, database, runs, journals, queue, self._user)
            executor = Executor(settings, runs, journals, queue, publisher, endings, self._user)
            redis = ArqRedis(commands.connection_pool, job_serializer=serialize, job_deserializer=deserialize)
            reaper = Reaper(settings, database, queue, endings, self._attachments, redis_check)
            arq_worker = ArqWorker(settings, redis, queue, Queue(bell), executor)
            heartbeat = Heartbeat(queue, settings, arq_worker.claims, executor.attempts)
            loops = [publisher.run(), heartbeat.run(), reaper.run(), _hear_signals(signals, executor)]
            await stack.enter_async_context(_running([asyncio.create_task(loop) for loop in loops], self))
            yield arq_worker, executor


async def _hear_signals(redis: Redis, executor: Executor) -> None:
    """Stops the attempt that a cancel signal names, if it is here. A missed signal is found by the heartbeat."""
    channel = names_of(redis)(keys.SIGNALS)
    while True:
        try:
            async with listening(redis, lambda pubsub: pubsub.subscribe(channel)) as pubsub:
                async for messages in heard(pubsub):
                    for message in messages:
                        if message["type"] == "message":
                            _signal(executor, message["data"])
        except QueueUnavailable as error:
            log.warning("signals interrupted", action="signals_reconnect", **failure(error))
        await asyncio.sleep(RECONNECT_SECONDS)


def _signal(executor: Executor, data: bytes) -> None:
    attempt = executor.attempts.get(data.decode(errors="replace"))
    if attempt is not None:
        attempt.stop(Stop.USER)


@asynccontextmanager
async def _running(loops: list[asyncio.Task[None]], worker: RunWorker) -> AsyncIterator[None]:
    """Keeps the loops running; one that fails drains the worker, whose runs go to others."""

    def heed(loop: asyncio.Task[None]) -> None:
        if not loop.cancelled() and (error := loop.exception()) is not None:
            log.critical("a loop failed", action="loop_failed", **failure(error))
            worker.drain()

    for loop in loops:
        loop.add_done_callback(heed)
    try:
        yield
    finally:
        await end_tasks(loops)
