"""The keeper: a thread with an event loop and a Redis connection of its own, which no code of the site's can block.

It renews the leases, watches the worker's loop, answers probes, and ends a process that will not end itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from socket import socket
from typing import NoReturn

import structlog
import uvloop

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.process.listener import bind, given_listener
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from relaykit.worker.execution.current_run import note_runs_of_tasks
from relaykit.worker.execution.stop import Stop
from relaykit.worker.keeper import last_resort
from relaykit.worker.keeper.health import Health
from relaykit.worker.keeper.heartbeat import Heartbeat
from relaykit.worker.keeper.probe_server import ProbeServer
from relaykit.worker.keeper.registration import Registration
from relaykit.worker.keeper.watchdog import Watchdog, described
from relaykit.worker.keeper.worker_view import WorkerView
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim

LEAVE_SECONDS = 2.0
"""How long Redis has to take the leases of a process that ends; without that they end by themselves."""
END_SECONDS = 5.0
"""How long the keeper's thread has to end; no process waits for it longer."""
ARM_EVERY_SECONDS = 1.5
"""Arming the last resort starts a thread. Its clock runs on while the process is frozen, so that a process that wakes
has to arm it again at once."""

log = structlog.get_logger()


class Keeper:
    """The keeper of one process that executes runs.

    `owns_process`: it may end the process, which is the worker's alone. `is_registered`: operators find it by
    WorkerRegistry, as each worker, and no cell.
    """

    def __init__(
        self, settings: Settings, worker: WorkerView, *, owns_process: bool, is_registered: bool = False
    ) -> None:
        self._is_registered = is_registered
        self._settings = settings
        self._worker = worker
        self._owns_process = owns_process
        self._blocked_seconds = settings.blocked_seconds if owns_process else 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        """The thread, for as long as the block lasts. The future is done when it ends, with its exception if it failed.

        Raises SettingsError where WORKER_PORT cannot be had.
        """
        loop = asyncio.get_running_loop()
        listener = None
        if self._settings.worker_port:
            listener = given_listener() or bind(
                self._settings.host, self._settings.worker_port, "HOST, WORKER_PORT"
            )
        note_runs_of_tasks(loop)
        thread = _Thread(self, Watchdog(), listener)
        thread.start()
        try:
            yield thread.ended
        finally:
            thread.stop()
            await asyncio.wait([thread.ended], timeout=END_SECONDS)

    async def work(self, watchdog: Watchdog, listener: socket | None) -> None:
        """What the thread does, until it is cancelled."""
        async with open_redis(
            self._settings.redis_url, deployment=self._settings.deployment, connections=1
        ) as redis:
            queue = ClaimQueue(redis)

            def stop(claim: Claim, reason: Stop) -> None:
                watchdog.loop.call_soon_threadsafe(self._worker.stop, claim, reason)

            heartbeat = Heartbeat(queue, self._settings, self._worker.claims, stop)
            watching = asyncio.create_task(self._watch(watchdog))
            tasks = [watching, asyncio.create_task(heartbeat.run())]
            if self._is_registered:
                registration = Registration(WorkerRegistry(redis), self._settings, self._worker, watchdog)
                tasks.append(asyncio.create_task(registration.run()))
            if listener is not None:
                routes = Health(self._settings, self._worker, watchdog, heartbeat).routes
                tasks.append(asyncio.create_task(ProbeServer(listener, routes).run()))
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # but for the watch they end by themselves only where they fail
            finally:
                await end_tasks(tasks)
                last_resort.disarm()
            await self._end(watchdog, queue)

    async def _watch(self, watchdog: Watchdog) -> None:
        """Returns when the process has to end."""
        armed_at = -ARM_EVERY_SECONDS
        while True:
            if self._blocked_seconds and time.monotonic() - armed_at >= ARM_EVERY_SECONDS:
                last_resort.arm(self._blocked_seconds + last_resort.MARGIN_SECONDS)
                armed_at = time.monotonic()
            before = watchdog.block
            await watchdog.look()
            # named in an earlier look: a call that has kept this thread from looking may have returned by now
            if watchdog.block is not None and watchdog.block is before and self._is_over(watchdog):
                return

    def _is_over(self, watchdog: Watchdog) -> bool:
        if 0 < self._blocked_seconds <= watchdog.blocked_seconds:
            return True
        ends_by = self._worker.ends_by()
        return self._owns_process and ends_by is not None and time.monotonic() >= ends_by

    async def _end(self, watchdog: Watchdog, queue: ClaimQueue) -> NoReturn:
        """Ends the process, whose loop stands still. Its runs are given up first, so that others have them at once."""
        last_resort.arm(last_resort.MARGIN_SECONDS)
        claims, block = list(self._worker.claims.values()), watchdog.block
        log.critical(
            "a call blocks the event loop: the runs are given up, and the worker ends",
            action="worker_blocked",
            runs=len(claims),
            **({} if block is None else described(block, time.monotonic())),
        )
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                if block is not None and block.run_id is not None:
                    await queue.leave(claims, {block.run_id})
                elif claims:  # any of them may be to blame
                    await queue.lose(claims, claims[0].process)
        except (QueueUnavailable, TimeoutError) as error:
            log.warning(
                "the leases could not be given up: they expire by themselves",
                action="lease_leave",
                runs=len(claims),
                **failure(error),
            )
        last_resort.end_process()


class _Thread(threading.Thread):
    """Made, stopped and awaited in the worker's loop. A daemon: a process that ends does not wait for it."""

    def __init__(self, keeper: Keeper, watchdog: Watchdog, listener: socket | None) -> None:
        super().__init__(name="keeper", daemon=True)
        self.ended: asyncio.Future[None] = watchdog.loop.create_future()
        self._keeper, self._watchdog, self._listener = keeper, watchdog, listener
        self._loop = uvloop.new_event_loop()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._work())
        except BaseException as failed:  # it is raised in the worker's loop
            error = failed
        with suppress(RuntimeError):  # that loop was closed
            self._watchdog.loop.call_soon_threadsafe(self._end, error)

    def stop(self) -> None:
        with suppress(RuntimeError):  # its loop was closed
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _work(self) -> None:
        working = asyncio.create_task(self._keeper.work(self._watchdog, self._listener))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()  # it ends by itself only where it fails
        await end_tasks([working, stopping])

    def _end(self, error: BaseException | None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
