"""The relay's tick: looks after the runs that have gone quiet, so that no client waits for what will not come.

A notice can be lost, a worker can die between a run's row and its end entry, Redis can lose a journal, and all workers
can be gone. To a client each of these looks like a model that thinks.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from relaykit.api.metrics import QUIET
from relaykit.api.relay.followed_run import FollowedRun
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.liveness_probe import LivenessProbe, RunLiveness
from relaykit.api.relay.states import DeliveryState
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.journal import Journals
from relaykit.shared.log import failure
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings

MAX_TICK_SECONDS = 5.0
BATCH = 500
FOLLOWED_TICKS = 3
"""A run counts as followed for this many ticks after the last of them that saw a follower."""

OPEN: Final = DeliveryState.OPEN

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LivenessCheck:
    """Finds out why a followed run is quiet, and does what is to be done about it. `run` must be running."""

    settings: Settings
    hub: Hub
    probe: LivenessProbe
    journals: Journals
    _unclaimed_since: dict[FollowedRun, float] = field(default_factory=dict, init=False)
    """Since when no worker has had the run, of runs that are running by their rows."""

    async def run(self) -> None:
        """Ticks twice a lease until cancelled; an outage is waited out."""
        tick_seconds = min(self.settings.lease_seconds / 2, MAX_TICK_SECONDS)
        while True:
            await asyncio.sleep(tick_seconds)
            try:
                await self._tick(tick_seconds)
            except (QueueUnavailable, DatabaseUnavailable) as error:
                log.warning(
                    "the check of quiet runs failed: it is tried again",
                    action="watch_retry",
                    **failure(error),
                )

    async def _tick(self, tick_seconds: float) -> None:
        followed_runs = self.hub.followed_runs()
        if self.settings.abandon_seconds:
            await self.probe.note_followed(
                [followed.run_id for followed in followed_runs],
                FOLLOWED_TICKS * tick_seconds + MAX_TICK_SECONDS,
            )
        quiet_since = time.monotonic() - tick_seconds
        quiet = [
            followed
            for followed in followed_runs
            if followed.updated_at <= quiet_since and is_awaited(followed)
        ]
        for followed in self._unclaimed_since.keys() - set(quiet):
            del self._unclaimed_since[followed]
        for start in range(0, len(quiet), BATCH):
            await self._check(quiet[start : start + BATCH])

    async def _check(self, quiet: list[FollowedRun]) -> None:
        found = await self.probe.liveness_of([(followed.run_id, followed.tail.last) for followed in quiet])
        doubtful = []
        for followed, liveness in zip(quiet, found, strict=True):
            match liveness:
                case RunLiveness.HELD | RunLiveness.GONE_HELD:
                    self._unclaimed_since.pop(followed, None)
                case RunLiveness.NEWS:
                    self.hub.schedule_read(followed)
                case RunLiveness.UNCLAIMED | RunLiveness.GONE_UNCLAIMED:
                    doubtful.append((followed, liveness))
        if doubtful:
            rows = await self.probe.statuses([followed.run_id for followed, _ in doubtful])
            for followed, liveness in doubtful:
                await self._resolve(followed, liveness, rows.get(followed.run_id))

    async def _resolve(
        self, followed: FollowedRun, liveness: RunLiveness, row: tuple[Status, int] | None
    ) -> None:
        """Does for a run without a worker what the status and attempt of its row call for."""
        if row is None or (row[0].ended and liveness is RunLiveness.GONE_UNCLAIMED):
            self._report(followed, "gone")
            self.hub.mark_journal_lost(followed)
        elif row[0].ended:
            self._report(followed, "ended")
            status, attempt = row
            await self.journals.end(followed.run_id, attempt, status)
            self.hub.schedule_read(followed)
        elif row[0] is Status.RUNNING:
            self._close_if_unclaimed(followed)

    def _close_if_unclaimed(self, followed: FollowedRun) -> None:
        """Closes the streams after a whole lease, because a worker with a free slot takes the run at once."""
        now = time.monotonic()
        since = self._unclaimed_since.get(followed)
        if since is None or since < followed.updated_at:
            self._unclaimed_since[followed] = now
        elif now - since > self.settings.lease_seconds:
            self._report(followed, "nobody")
            self.hub.close_streams(followed)

    def _report(self, followed: FollowedRun, found: str) -> None:
        QUIET.labels(found).inc()
        log.warning(
            "a followed run got no more entries: its missing end is written, or its streams are told or closed",
            action="watch_told",
            run_id=followed.run_id,
            found=found,
        )


def is_awaited(followed: FollowedRun) -> bool:
    """Whether the run's streams still wait for an entry."""
    return followed.delivery is OPEN and not followed.tail.ended
