"""The heartbeat: renews every lease of this worker, and hears of those that are lost or to be cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog

from shared.claims import Claim
from shared.errors import QueueUnavailable
from shared.log import failure
from shared.queue import Queue, Renewal
from shared.settings import Settings
from worker.attempt import Attempt
from worker.stop import Stop

BEATS_PER_LEASE = 3
RENEWED_AT_ONCE = 20
"""Leases a call, a fraction of a millisecond of Redis: thousands would hold up all who wait for it."""
PART_OF_BEAT = 1 / 3
"""How much of a beat its calls are spread over: one after the other they would hold up this worker's claims."""

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
        self._shown_at: dict[Claim, float] = {}
        """When each lease was last shown to hold, by this process's clock."""
        self._followed_at: dict[Claim, float] = {}
        """When somebody was last seen to follow each run; from the first beat on."""

    async def run(self) -> None:
        beat_seconds = self._settings.lease_seconds / BEATS_PER_LEASE
        next_at = time.monotonic()
        while True:
            next_at += beat_seconds
            await asyncio.sleep(next_at - time.monotonic())
            next_at = started_at = time.monotonic()
            claims = self._held(started_at)
            self._followed_at = {claim: self._followed_at.get(claim, started_at) for claim in claims}
            ends_at = min(self._shown_at.values(), default=started_at) + self._settings.lease_seconds
            try:
                async with asyncio.timeout(min(beat_seconds, ends_at - started_at)):
                    await self._renew(claims, beat_seconds * PART_OF_BEAT)
            except (QueueUnavailable, TimeoutError) as error:
                log.warning("leases not renewed", action="lease_renew", runs=len(claims), **failure(error))
                self._held(time.monotonic())

    def _held(self, now: float) -> list[Claim]:
        """The claims whose lease can still be shown to hold, oldest renewal first; the others' attempts are stopped."""
        shown_at = {claim: self._shown_at.get(claim, claim.asked_at) for claim in self._claims.values()}
        over = [claim for claim, at in shown_at.items() if at + self._settings.lease_seconds <= now]
        for claim in over:
            self._heed(claim, Renewal.LOST)
        self._shown_at = {claim: at for claim, at in shown_at.items() if claim not in over}
        return sorted(self._shown_at, key=self._shown_at.__getitem__)

    async def _renew(self, claims: list[Claim], spread_seconds: float) -> None:
        parts = [claims[first : first + RENEWED_AT_ONCE] for first in range(0, len(claims), RENEWED_AT_ONCE)]
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(spread_seconds / len(parts))
            # what was released since the beat began would be taken again
            held = [claim for claim in part if self._is_held(claim)]
            if held:
                asked_at = time.monotonic()
                for claim, state in zip(held, await self._renew_some(held), strict=True):
                    self._shown_at[claim] = asked_at
                    if Renewal.FOLLOWED in state:
                        self._followed_at[claim] = asked_at
                    self._heed(claim, state)

    async def _renew_some(self, claims: list[Claim]) -> list[Renewal]:
        states = await self._queue.renew(
            claims, self._settings.lease_seconds, self._settings.journal_ttl_seconds
        )
        for claim, state in zip(claims, states, strict=True):
            if Renewal.RETAKEN in state:
                log.warning("lease taken again", action="lease_retaken", run_id=claim.run_id)
                await self._queue.enqueue(claim.run_id)
                if not self._is_held(claim):  # released while the renewal was on its way
                    await self._queue.release(claim, done=False)
        return states

    def _is_held(self, claim: Claim) -> bool:
        return self._claims.get(claim.run_id) is claim

    def _heed(self, claim: Claim, state: Renewal) -> None:
        attempt = self._attempts.get(claim.run_id)
        if attempt is None or not self._is_held(claim):
            return
        if Renewal.HELD not in state:
            log.warning("lease lost", action="lease_lost", run_id=claim.run_id)
            attempt.stop(Stop.LOST)
        elif Renewal.CANCEL in state:
            attempt.stop(Stop.USER)
        elif self._is_abandoned(claim):
            log.info("nobody follows the run", action="run_abandoned", run_id=claim.run_id)
            attempt.stop(Stop.ABANDONED)

    def _is_abandoned(self, claim: Claim) -> bool:
        limit_seconds = self._settings.abandon_seconds
        return 0 < limit_seconds < self._shown_at[claim] - self._followed_at[claim]
