"""The worker says that it is there, for operators, for /readyz of the APIs, and for those that read a lease."""

from __future__ import annotations

import asyncio
import os
import platform
import time

import structlog

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.queue.worker_registry import WorkerRegistry, WorkerState
from relaykit.shared.settings import Settings
from relaykit.shared.version import VERSION
from relaykit.worker.keeper.watchdog import Watchdog
from relaykit.worker.keeper.worker_view import WorkerView

EVERY_LEASES = 1 / 3
"""How often it is said, in leases: as often as these are renewed."""
TTL_LEASES = 2.0
"""For how long each time counts, in leases: a worker whose leases have just ended is still there to be found frozen."""
WITHDRAW_SECONDS = 1.0

log = structlog.get_logger()


class Registration:
    """Registers until cancelled, then withdraws. In the keeper's thread, so that a worker that is blocked is there."""

    def __init__(
        self, registry: WorkerRegistry, settings: Settings, worker: WorkerView, watchdog: Watchdog
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._worker = worker
        self._watchdog = watchdog
        self._started_at = time.time()

    async def run(self) -> None:
        lease_seconds = self._settings.lease_seconds
        try:
            while True:
                try:
                    async with asyncio.timeout(lease_seconds):
                        await self._registry.register(self._state(), TTL_LEASES * lease_seconds)
                except (QueueUnavailable, TimeoutError) as error:
                    log.debug(
                        "the worker could not be registered: it is tried again",
                        action="worker_unregistered",
                        **failure(error),
                    )
                await asyncio.sleep(EVERY_LEASES * lease_seconds)
        finally:
            await self._withdraw()

    async def _withdraw(self) -> None:
        try:
            async with asyncio.timeout(WITHDRAW_SECONDS):
                await self._registry.withdraw(self._worker.id)
        except (QueueUnavailable, TimeoutError):  # it is forgotten in time
            return

    def _state(self) -> WorkerState:
        return WorkerState(
            id=self._worker.id,
            host=platform.node(),
            pid=os.getpid(),
            version=VERSION,
            slots=self._settings.max_runs,
            used=self._worker.occupancy.runs,
            started_at=self._started_at,
            draining=self._worker.is_draining(),
            blocked_seconds=round(self._watchdog.blocked_seconds, 1),
            clock_offset_seconds=self._worker.clock_offset(),
        )
