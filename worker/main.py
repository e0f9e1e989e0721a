"""Builds the worker, and its life. Here, in resources.py and in loading.py this side is wired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from arq.connections import ArqRedis
from chatkit.server import ChatKitServer

from relaykit.shared.attachments.store import ObjectAttachmentStore
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.journal.erasing import JournalEraser
from relaykit.shared.log import note_process
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.notify import READY, STOPPING, notify
from relaykit.shared.queue.job_queue import deserialize, serialize
from relaykit.shared.redis.client import REPLY_TIMEOUT_SECONDS, open_redis
from relaykit.shared.settings import Settings
from relaykit.shared.site.loaded_server import LoadedServer
from relaykit.shared.tasks import end_tasks
from relaykit.worker.claiming.arq_worker import BELL_SECONDS, ArqWorker
from relaykit.worker.claiming.bell import Bell
from relaykit.worker.draining import Draining
from relaykit.worker.execution.executor import Executor
from relaykit.worker.loading import load
from relaykit.worker.quarantine.fork_server import ForkServer
from relaykit.worker.quarantine.quarantine import Quarantine
from relaykit.worker.reaper.queue_audit import QueueAudit
from relaykit.worker.reaper.reaper import Reaper
from relaykit.worker.reaper.sweeps import Sweeps
from relaykit.worker.resources import opened_execution, running_loops

log = structlog.get_logger()


def create_worker(
    settings: Settings,
    server: ChatKitServer[Any] | None = None,
    *,
    forks: ForkServer | None = None,
    owns_process: bool = False,
) -> RunWorker:
    """A worker that opens nothing until `run`. `server` is taken as it is, instead of CHATKIT_SERVER.

    Without `forks` it has no quarantine: suspects are executed as other runs are. `owns_process`: it may end the
    process, where a call blocks the event loop. Raises ServerLoadError.
    """
    return RunWorker(
        settings, Draining(settings), *load(settings, server), forks=forks, owns_process=owns_process
    )


class RunWorker:
    """One worker process's life: `run` until `drain`."""

    def __init__(
        self,
        settings: Settings,
        draining: Draining,
        database: Database,
        loaded: LoadedServer,
        attachments: ObjectAttachmentStore | None,
        *,
        forks: ForkServer | None,
        owns_process: bool,
    ) -> None:
        self.draining = draining
        self._settings = settings
        self._database = database
        self._loaded = loaded
        self._attachments = attachments
        self._forks = forks
        self._owns_process = owns_process

    def drain(self) -> None:
        """Claim nothing more; let runs finish for DRAIN_SECONDS, hand the rest back, end."""
        self.draining.ask()

    async def run(self) -> None:
        """Serves until `drain`. Raises RelaykitError where it cannot start."""
        async with self._opened() as (arq_worker, executor):
            log.info("worker started", action="worker_start", max_runs=self._settings.max_runs)
            polling = asyncio.create_task(arq_worker.async_run())
            notify(READY)
            stopping = asyncio.create_task(self.draining.asked.wait())
            await asyncio.wait({polling, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                stopping.cancel()
                await polling  # it ends by itself only where it fails
            await self._drain(arq_worker, executor)
            await end_tasks([polling])
        log.info("worker stopped", action="worker_stop")

    async def _drain(self, arq_worker: ArqWorker, executor: Executor) -> None:
        notify(STOPPING)
        log.info(
            "the worker is draining: it claims nothing more",
            action="worker_drain",
            runs=len(executor.attempts),
        )
        await arq_worker.stop_claiming()
        arq_worker.drain_quarantine()
        await arq_worker.jobs_ended(self._settings.drain_seconds)
        executor.drain()
        await arq_worker.jobs_ended(self._settings.lease_seconds)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[ArqWorker, Executor]]:
        settings = self._settings
        async with AsyncExitStack() as stack:
            execution = await stack.enter_async_context(
                opened_execution(
                    settings,
                    self._database,
                    self._loaded,
                    self.draining,
                    owns_process=self._owns_process,
                    is_registered=True,
                )
            )
            bell = await stack.enter_async_context(
                open_redis(
                    settings.redis_url,
                    deployment=settings.deployment,
                    connections=1,
                    reply_timeout_seconds=BELL_SECONDS + REPLY_TIMEOUT_SECONDS,
                )
            )
            if self._owns_process:
                note_process(process="worker", worker=execution.id)
            pool = execution.commands.connection_pool
            redis = ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize)
            reaper = Reaper(
                settings,
                self._database,
                Sweeps(self._database),
                QueueAudit(execution.commands),
                execution.endings,
                GoneRuns(self._database, JournalEraser(execution.commands)),
                self._attachments,
                execution.redis_check,
            )
            await stack.enter_async_context(running_loops([reaper.run()], self.draining.ask))
            quarantine = None if self._forks is None else Quarantine(settings, execution.queue, self._forks)
            if quarantine is not None:
                stack.push_async_callback(quarantine.close)
            yield ArqWorker(settings, redis, Bell(bell), execution, quarantine), execution.executor
