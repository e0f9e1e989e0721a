"""The relay's tick: looks after the runs that have gone quiet, so that no client waits for what will not come.

A notice can be lost, a worker can die between a run's row and its end entry, Redis can lose a journal, and all workers
can be gone. To a client each of these looks like a model that thinks.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from relaykit.api.metrics import QUIET
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.liveness_probe import LivenessProbe, RunLiveness
from relaykit.api.relay.subscription import Follow
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.journal import Journals
from relaykit.shared.log import failure
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings

MAX_TICK_SECONDS = 5.0
BATCH = 500
FOLLOWED_TICKS = 3
"""Ticks for which a run counts as followed after the last of them that saw a follower."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Watch:
    """`run` must be running."""

    settings: Settings
    hub: Hub
    probe: LivenessProbe
    journals: Journals

    async def run(self) -> None:
        """Ticks twice a lease until cancelled; an outage is waited out."""
        tick_seconds = min(self.settings.lease_seconds / 2, MAX_TICK_SECONDS)
        while True:
            await asyncio.sleep(tick_seconds)
            try:
                await self._tick(tick_seconds)
            except (QueueUnavailable, DatabaseUnavailable) as error:
                log.warning("the watch waits", action="watch_retry", **failure(error))

    async def _tick(self, tick_seconds: float) -> None:
        follows = self.hub.following()
        if self.settings.abandon_seconds:
            await self.probe.note_followed(
                [follow.run_id for follow in follows], FOLLOWED_TICKS * tick_seconds + MAX_TICK_SECONDS
            )
        quiet_since = time.monotonic() - tick_seconds
        quiet = [
            follow
            for follow in follows
            if follow.heard_at <= quiet_since and not (follow.tail.ended or follow.gone or follow.closing)
        ]
        for start in range(0, len(quiet), BATCH):
            await self._look(quiet[start : start + BATCH])

    async def _look(self, quiet: list[Follow]) -> None:
        found = await self.probe.liveness_of([(follow.run_id, follow.tail.last) for follow in quiet])
        doubtful = []
        for follow, liveness in zip(quiet, found, strict=True):
            match liveness:
                case RunLiveness.HELD | RunLiveness.GONE_HELD:
                    follow.nobody_since = None
                case RunLiveness.NEWS:
                    self.hub.look(follow)
                case RunLiveness.UNCLAIMED | RunLiveness.GONE_UNCLAIMED:
                    doubtful.append((follow, liveness))
        if doubtful:
            states = await self.probe.statuses([follow.run_id for follow, _ in doubtful])
            for follow, liveness in doubtful:
                await self._judge(follow, liveness, states.get(follow.run_id))

    async def _judge(self, follow: Follow, liveness: RunLiveness, state: tuple[Status, int] | None) -> None:
        if state is None or (state[0].ended and liveness is RunLiveness.GONE_UNCLAIMED):
            self._told(follow, "gone")
            follow.lose()
        elif state[0].ended:
            self._told(follow, "ended")
            status, attempt = state
            await self.journals.end(follow.run_id, attempt, status)
            self.hub.look(follow)
        elif state[0] is Status.RUNNING:
            self._unheld(follow)

    def _unheld(self, follow: Follow) -> None:
        """A worker that is free takes the run at once, so after a whole lease there is none."""
        now = time.monotonic()
        if follow.nobody_since is None:
            follow.nobody_since = now
        elif now - follow.nobody_since > self.settings.lease_seconds:
            self._told(follow, "nobody")
            follow.close()

    def _told(self, follow: Follow, what: str) -> None:
        QUIET.labels(what).inc()
        log.warning("a quiet run", action="watch_told", run_id=follow.run_id, found=what)
