"""The heartbeat: renews every lease of this worker, and hears of those that are lost or to be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from shared.errors import QueueUnavailable
from shared.log import failure
from shared.queue import Claim, Lease, Queue
from shared.settings import Settings
from worker.attempt import Attempt
from worker.stop import Stop

BEATS_PER_LEASE = 3

log = structlog.get_logger()


class Heartbeat:
    """Beats every third of the lease until cancelled."""

    def __init__(
        self,
        queue: Queue,
        settings: Settings,
        claims: Mapping[str, Claim],
        attempts: Mapping[str, Attempt],
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._claims = claims
        self._attempts = attempts

    async def run(self) -> None:
        lease_seconds = self._settings.lease_seconds
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(lease_seconds / BEATS_PER_LEASE)
            started_at = time.monotonic()
            claims = list(self._claims.values())
            try:
                async with asyncio.timeout(max(0, renewed_at + lease_seconds - started_at)):
                    states = await self._renew(claims)
            except (QueueUnavailable, TimeoutError) as error:
                log.warning("leases not renewed", action="lease_renew", runs=len(claims), **failure(error))
                if time.monotonic() - renewed_at >= lease_seconds:
                    self._stop_all(claims)
                continue
            renewed_at = started_at
            for claim, state in zip(claims, states, strict=True):
                self._heed(claim, state)

    async def _renew(self, claims: list[Claim]) -> list[Lease]:
        if not claims:
            return []
        return await self._queue.renew(
            claims, self._settings.lease_seconds, self._settings.journal_ttl_seconds
        )

    def _heed(self, claim: Claim, state: Lease) -> None:
        attempt = self._attempts.get(claim.run_id)
        if attempt is None or self._claims.get(claim.run_id) is not claim:
            return
        match state:
            case Lease.LOST:
                log.warning("lease lost", action="lease_lost", run_id=claim.run_id)
                attempt.stop(Stop.LOST)
            case Lease.CANCEL:
                attempt.stop(Stop.USER)
            case Lease.HELD:
                pass

    def _stop_all(self, claims: list[Claim]) -> None:
        """No lease can be shown to hold any more."""
        for claim in claims:
            self._heed(claim, Lease.LOST)
