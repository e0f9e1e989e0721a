"""The state of a worker for probes: alive, ready, and its counters. Asked in the keeper's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from relaykit.shared.errors import RelaykitError
from relaykit.shared.settings import Settings
from relaykit.worker.keeper.heartbeat import Heartbeat
from relaykit.worker.keeper.probe_server import Reply, Route
from relaykit.worker.keeper.watchdog import Watchdog
from relaykit.worker.keeper.worker_view import WorkerView
from relaykit.worker.metrics import LEASES, SLOTS

UNBOUNDED_SECONDS = 60.0
"""How long the loop may stand still before /healthz says so, where BLOCKED_SECONDS is off."""
BEAT_LEASES = 2.0
"""Leases after which a heartbeat that has not come to an end hangs: each beat is bounded by a third of one."""
CHECK_SECONDS = 5.0
"""How long Redis and PostgreSQL have to answer."""
CHECKED_FOR_SECONDS = 1.0
"""How long the result of a check holds, so that many probes ask the services no more often than one."""


class Health:
    """The answers of one worker. Those of a liveness do not depend on other services: a restart would not mend them."""

    def __init__(
        self, settings: Settings, worker: WorkerView, watchdog: Watchdog, heartbeat: Heartbeat
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._watchdog = watchdog
        self._heartbeat = heartbeat
        self._checking = asyncio.Lock()
        self._checked_at = 0.0
        self._found: str | None = None

    @property
    def routes(self) -> Mapping[str, Route]:
        return {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}

    async def _healthz(self) -> Reply:
        limit_seconds = self._settings.blocked_seconds or UNBOUNDED_SECONDS
        if self._watchdog.blocked_seconds >= limit_seconds:
            return self._blocked()
        if time.monotonic() - self._heartbeat.beaten_at > BEAT_LEASES * self._settings.lease_seconds:
            return _unwell("heartbeat_stopped")
        return Reply.json(HTTPStatus.OK, status="ok")

    async def _readyz(self) -> Reply:
        if self._worker.is_draining():
            return _unwell("draining")
        if self._watchdog.block is not None:
            return self._blocked()
        async with self._checking:
            if time.monotonic() - self._checked_at > CHECKED_FOR_SECONDS:
                self._found = await self._check()
                self._checked_at = time.monotonic()
            found = self._found
        return Reply.json(HTTPStatus.OK, status="ok") if found is None else _unwell(found)

    async def _metrics(self) -> Reply:
        SLOTS.set(self._settings.max_runs)
        LEASES.set(len(self._worker.claims))
        return Reply(HTTPStatus.OK, generate_latest(), CONTENT_TYPE_LATEST)

    async def _check(self) -> str | None:
        """The code of what does not answer, asked by the worker's loop over its own connections."""
        asked = asyncio.run_coroutine_threadsafe(self._worker.check(), self._watchdog.loop)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await asyncio.wrap_future(asked)
        except TimeoutError:
            return "blocked" if self._watchdog.block is not None else "services_slow"
        except RelaykitError as error:
            return error.code
        return None

    def _blocked(self) -> Reply:
        return _unwell("blocked", seconds=round(self._watchdog.blocked_seconds, 1))


def _unwell(reason: str, **more: Any) -> Reply:
    return Reply.json(HTTPStatus.SERVICE_UNAVAILABLE, status="unavailable", reason=reason, **more)
