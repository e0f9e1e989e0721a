"""The process of a cell: executes the runs whose claims its worker gives it, until the worker's end is closed.

It renews and releases the claims itself, over connections of its own. At the end of the socket, whether its worker
drains or is gone, it drains as a worker does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import structlog
import uvloop

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import QueueUnavailable, RelaykitError
from relaykit.shared.log import failure, note_process
from relaykit.shared.postgres.database import Database
from relaykit.shared.process.main_loop import run_until_done
from relaykit.shared.settings import Settings, load_settings
from relaykit.shared.site.loaded_server import LoadedServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.tracing.process import end_tracing, start_tracing
from relaykit.worker.draining import Draining
from relaykit.worker.execution.current_run import enter_run
from relaykit.worker.execution.executor import Executor
from relaykit.worker.execution.telemetry.figures import AttemptFigures
from relaykit.worker.execution.verdict import Outcome
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Loss
from relaykit.worker.loading import load
from relaykit.worker.quarantine.last_place import PlaceNotes
from relaykit.worker.resources import opened_execution

POOL_MIN, POOL_MAX = 1, 4
"""Connections to PostgreSQL, within DATABASE_POOL_MAX."""
ORPHAN_SECONDS = 5.0
"""A process whose worker is gone, and whose loop does not hear of it, ends this long after DRAIN_SECONDS and a
lease."""

log = structlog.get_logger()


def execute_cell(connection: socket.socket, place: int) -> int:
    """The life of a process that the fork server has forked; its exit status."""
    structlog.contextvars.clear_contextvars()
    note_process(process="cell")
    try:
        settings = _settings()
        start_tracing("relaykit-worker")
        database, loaded, _ = load(settings)  # before the loop runs, as in the worker
        main = _serve(settings, database, loaded, connection, place)
        run_until_done(uvloop.new_event_loop(), main)
    except RelaykitError as error:
        log.error(  # noqa: TRY400
            "a cell cannot start: its process ends",
            action="cell_start_failed",
            code=error.code,
            reason=error.message,
        )
        return 2
    except BaseException as error:
        log.critical("a cell failed: its process ends", action="cell_failed", **failure(error))
        return 1
    finally:
        end_tracing()
    return 0


def _settings() -> Settings:
    settings = load_settings()
    pool_max = min(POOL_MAX, settings.database_pool_max)
    return settings.model_copy(
        update={"database_pool_min": POOL_MIN, "database_pool_max": pool_max, "worker_port": 0}
    )


async def _serve(
    settings: Settings, database: Database, loaded: LoadedServer, connection: socket.socket, place: int
) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    draining, loop = Draining(settings), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # not the loop's own handlers: those are not called while a call blocks it
        signal.signal(number, lambda number, frame: draining.ask_by_signal(loop))

    def report(figures: AttemptFigures) -> None:
        """The worker counts them: a cell has no port."""
        # uvloop's, where the worker is gone: nothing counts, and the run goes on
        with suppress(RuntimeError):
            writer.write(json.dumps({"figures": asdict(figures)}).encode() + b"\n")

    async with opened_execution(
        settings, database, loaded, draining, owns_process=True, report=report
    ) as execution:
        process = CellProcess(execution.queue, execution.executor, execution.claims, writer)
        PlaceNotes(place, lambda: producers(execution.executor)).start(_orphan_watch(settings))
        process.say(ready=True)
        ends = [asyncio.create_task(each) for each in (process.take_claims(reader), draining.asked.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(ends)
        await process.drain(settings)
    writer.close()


def producers(executor: Executor) -> dict[str, asyncio.Task[Any] | None]:
    """The tasks that run the user's server, by run id."""
    return {run_id: attempt.producer for run_id, attempt in dict(executor.attempts).items()}


class CellProcess:
    """Executes, renews and releases the claims that its worker gives it."""

    def __init__(
        self, queue: ClaimQueue, executor: Executor, claims: dict[str, Claim], writer: asyncio.StreamWriter
    ) -> None:
        self._queue = queue
        self._executor = executor
        self._claims = claims
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()

    async def take_claims(self, reader: asyncio.StreamReader) -> None:
        """Executes what comes, until the worker's end is closed."""
        async for line in reader:
            self._begin(**json.loads(line))

    def _begin(
        self, run_id: str, token: str, asked_at: float, uncounted: bool, lost_by: str, lapsed_seconds: float
    ) -> None:
        loss = Loss(company=0, times=1, process=lost_by)  # for the attempt's trace: the worker has judged it
        claim = self._claims[run_id] = Claim(run_id, token, asked_at, loss, lapsed_seconds)
        task = asyncio.create_task(self._execute(claim, uncounted), name=f"run {run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def say(self, **said: object) -> None:
        self._writer.write(json.dumps(said).encode() + b"\n")

    async def drain(self, settings: Settings) -> None:
        """Lets runs finish for DRAIN_SECONDS, and hands the rest back."""
        await self._ended(settings.drain_seconds)
        self._executor.drain()
        await self._ended(settings.lease_seconds)

    async def _ended(self, timeout_seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)

    async def _execute(self, claim: Claim, uncounted: bool) -> None:
        enter_run(claim.run_id)
        try:
            try:
                with site_code:
                    outcome = await self._executor.execute(claim.run_id, uncounted=uncounted, claim=claim)
            finally:
                del self._claims[claim.run_id]
            if outcome is Outcome.FOREIGN:
                await self._queue.put_aside(claim)
            elif not await self._queue.release(claim, done=outcome is Outcome.DONE):
                log.warning(
                    "a claim could not be released: another worker has the lease",
                    action="release_refused",
                    run_id=claim.run_id,
                )
        except Exception as error:
            log.error(  # noqa: TRY400
                "executing a job failed: its lease expires, and the run is claimed again",
                action="job_failed",
                run_id=claim.run_id,
                **failure(error),
            )
            with suppress(QueueUnavailable):
                await self._queue.blame(claim)
        finally:
            self.say(ended=claim.run_id)


def _orphan_watch(settings: Settings) -> Any:
    """To be called again and again in another thread than the loop's: ends a process that outlives its worker."""
    parent = os.getppid()
    limit_seconds = settings.drain_seconds + settings.lease_seconds + ORPHAN_SECONDS
    orphaned_at: list[float] = []

    def watch() -> None:
        if orphaned_at:
            if time.monotonic() - orphaned_at[0] > limit_seconds:
                os._exit(1)
        elif os.getppid() != parent:
            orphaned_at.append(time.monotonic())

    return watch
