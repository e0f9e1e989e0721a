"""The heartbeat: renews every lease of this worker, and finds the runs that are lost or to be cancelled.

It runs in the keeper's thread. A lease says that the process is there; no code of its runs can keep it from beating.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.queue.claims import Claim, Renewal
from relaykit.shared.queue.job_queue import Queue
from relaykit.shared.settings import Settings
from relaykit.worker.execution.stop import Stop
from relaykit.worker.metrics import LEASES_LOST, LEASES_RETAKEN, RENEWALS_FAILED

BEATS_PER_LEASE = 3
BEATS_TO_GIVE_UP = 2
"""Leases are given up after this many failed beats in a row. A worker that is cut off has had them when its leases end;
a worker that was paused for longer finds that its call has timed out, and asks once more."""
RENEWAL_BATCH = 20
"""Leases in one call, which takes a fraction of a millisecond of Redis: thousands would hold up all its clients."""
SPREAD_FRACTION = 1 / 3
"""The calls of a beat are spread over this part of it: one right after the other they would hold up claims."""

log = structlog.get_logger()


class Heartbeat:
    """Beats every third of the lease until cancelled. `stop` gets each claim whose attempt has to end, and why."""

    def __init__(
        self,
        queue: Queue,
        settings: Settings,
        claims: Mapping[str, Claim],
        stop: Callable[[Claim, Stop], None],
    ) -> None:
        self.beaten_at = time.monotonic()
        """When the last beat ended, renewed or not."""
        self._queue = queue
        self._settings = settings
        self._claims = claims
        self._stop = stop
        self._confirmed_at: dict[Claim, float] = {}
        """When Redis last confirmed each lease, by this process's clock."""
        self._followed_at: dict[Claim, float] = {}
        """When a client was last seen to follow each run; the first beat counts as one."""
        self._failed_beats = 0
        """Failed beats since the last one that did not fail."""
        self._lost: set[Claim] = set()
        """Leases that were given up: none of them is renewed again while its attempt ends."""

    async def run(self) -> None:
        beat_seconds = self._settings.lease_seconds / BEATS_PER_LEASE
        next_at = time.monotonic()
        while True:
            next_at += beat_seconds
            await asyncio.sleep(next_at - time.monotonic())
            next_at = time.monotonic()
            await self._beat(beat_seconds)
            self.beaten_at = time.monotonic()

    async def _beat(self, beat_seconds: float) -> None:
        """Asks for the renewal also of leases that are over since a pause: perhaps no other worker took them."""
        started_at = time.monotonic()
        claims = self._held(started_at)
        ends_at = min(self._confirmed_at.values(), default=started_at) + self._settings.lease_seconds
        left_seconds = ends_at - started_at
        if left_seconds < beat_seconds * SPREAD_FRACTION:  # they are over, or all but over
            left_seconds = beat_seconds
        try:
            async with asyncio.timeout(min(beat_seconds, left_seconds)):
                await self._renew(claims, beat_seconds * SPREAD_FRACTION)
        except (QueueUnavailable, TimeoutError) as error:
            RENEWALS_FAILED.inc()
            log.warning("leases not renewed", action="lease_renew", runs=len(claims), **failure(error))
            self._failed_beats += 1
            if self._failed_beats >= BEATS_TO_GIVE_UP:
                self._give_up(time.monotonic())
        else:
            self._failed_beats = 0

    def _held(self, now: float) -> list[Claim]:
        """The claims that were not given up, oldest renewal first."""
        claims = list(self._claims.values())  # in one step: the other thread changes it
        self._lost &= set(claims)
        held = [claim for claim in claims if claim not in self._lost]
        self._confirmed_at = {claim: self._confirmed_at.get(claim, claim.asked_at) for claim in held}
        self._followed_at = {claim: self._followed_at.get(claim, now) for claim in held}
        return sorted(held, key=self._confirmed_at.__getitem__)

    def _give_up(self, now: float) -> None:
        """Gives up the leases that are over and could not be renewed: others may have them."""
        for claim, confirmed_at in self._confirmed_at.items():
            if confirmed_at + self._settings.lease_seconds <= now:
                self._on_renewal(claim, Renewal.LOST)

    async def _renew(self, claims: list[Claim], spread_seconds: float) -> None:
        parts = [claims[first : first + RENEWAL_BATCH] for first in range(0, len(claims), RENEWAL_BATCH)]
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(spread_seconds / len(parts))
            # what was released since the beat began would be taken again
            held = [claim for claim in part if self._is_held(claim)]
            if held:
                asked_at = time.monotonic()
                for claim, state in zip(held, await self._renew_some(held), strict=True):
                    if Renewal.HELD not in state and await self._is_claimed_again(claim):
                        continue
                    self._confirmed_at[claim] = asked_at
                    if Renewal.FOLLOWED in state:
                        self._followed_at[claim] = asked_at
                    self._on_renewal(claim, state)

    async def _renew_some(self, claims: list[Claim]) -> list[Renewal]:
        states = await self._queue.renew(
            claims, self._settings.lease_seconds, self._settings.journal_ttl_seconds
        )
        for claim, state in zip(claims, states, strict=True):
            if Renewal.REACQUIRED in state:
                LEASES_RETAKEN.inc()
                log.warning("lease taken again", action="lease_retaken", run_id=claim.run_id)
                await self._queue.enqueue(claim.run_id)
                if not self._is_held(claim):  # released while the renewal was on its way
                    await self._queue.release(claim, done=False)
        return states

    async def _is_claimed_again(self, claim: Claim) -> bool:
        """Whether this worker itself has the lease by a newer claim, which it may not have heard of yet."""
        holder = await self._queue.holder(claim.run_id)
        return holder is not None and holder.process == claim.process != ""

    def _is_held(self, claim: Claim) -> bool:
        return self._claims.get(claim.run_id) is claim

    def _on_renewal(self, claim: Claim, state: Renewal) -> None:
        if not self._is_held(claim):
            return
        if Renewal.HELD not in state:
            LEASES_LOST.inc()
            log.warning("lease lost", action="lease_lost", run_id=claim.run_id)
            self._lost.add(claim)
            self._stop(claim, Stop.LOST)
        elif Renewal.CANCEL in state:
            self._stop(claim, Stop.USER)
        elif self._is_abandoned(claim):
            log.info("nobody follows the run", action="run_abandoned", run_id=claim.run_id)
            self._stop(claim, Stop.ABANDONED)

    def _is_abandoned(self, claim: Claim) -> bool:
        limit_seconds = self._settings.abandon_seconds
        return 0 < limit_seconds < self._confirmed_at[claim] - self._followed_at[claim]
