"""arq's worker with another way to the queue: one claim script, a lease, a bell instead of a poll, a fenced release.

Why each of these, with figures against stock arq, is in docs/decisions/0003-claim-and-lease.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, assert_never

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import RedisError

from relaykit.shared.crashes import site_code
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.queue.job_queue import RUN_FUNCTION, deserialize, serialize
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import error_of
from relaykit.worker.claiming.bell import Bell
from relaykit.worker.execution.current_run import enter_run
from relaykit.worker.execution.verdict import Outcome
from relaykit.worker.leases.claims import Claim, Loss, RunningLimits
from relaykit.worker.metrics import RUNS
from relaykit.worker.quarantine.quarantine import Quarantine, Stay
from relaykit.worker.resources import Execution

BELL_SECONDS = 1.0
"""How long an idle worker waits for the bell before it looks by itself: a ring can be lost with its connection."""
OUTAGE_SECONDS = 0.5

log = structlog.get_logger()


class ArqWorker(Worker):
    """Claims, executes and releases runs. `claims` has the claims that it holds, by run id."""

    def __init__(
        self,
        settings: Settings,
        redis: ArqRedis,
        bell: Bell,
        execution: Execution,
        quarantine: Quarantine | None,
    ) -> None:
        super().__init__(
            functions=[func(_never_called, name=RUN_FUNCTION)],
            redis_pool=redis,
            handle_signals=False,
            max_jobs=settings.max_runs,
            keep_result=0,
            poll_delay=0,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        self.claims = execution.claims
        self._settings = settings
        self._queue = execution.queue
        self._bell = bell
        self._executor = execution.executor
        self._runs = execution.runs
        self._quarantine = quarantine
        self._limits = RunningLimits(settings.tenant_max_running, settings.caller_max_running)
        self._claiming = asyncio.Lock()
        self._name = execution.id
        self._occupancy = execution.occupancy
        self._claim_number = 0

    async def main(self) -> None:
        """arq's loop alone.

        arq's own asks INFO and DBSIZE at its start, for a log line, and writes a health key that only arq reads: the
        user of docs/security.md is not allowed to.
        """
        while True:
            await self._poll_iteration()

    async def _poll_iteration(self) -> None:
        """One round: claim what is due, wait for the bell or a free slot."""
        try:
            free = self.max_jobs - len(self.tasks)
            claimed = await self._claim(free) if self.allow_pick_jobs and free > 0 else 0
            if not self.allow_pick_jobs or free == claimed:
                await self._wait_for_slot()
            elif claimed < free:
                await self._bell.wait(BELL_SECONDS)
        except (QueueUnavailable, RedisError) as error:
            log.warning(
                "claiming failed: it is tried again",
                action="queue_outage",
                **failure(error),
            )
            await asyncio.sleep(OUTAGE_SECONDS)

    async def stop_claiming(self) -> None:
        """Returns when no claim is under way; there will be no other."""
        self.allow_pick_jobs = False
        async with self._claiming:
            return

    def drain_quarantine(self) -> None:
        """Has the cells drain, each within the same time as this process."""
        if self._quarantine is not None:
            self._quarantine.drain()

    async def jobs_ended(self, timeout_seconds: float) -> None:
        """Waits for the jobs that run now, up to a time-out."""
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=timeout_seconds)

    async def _claim(self, free: int) -> int:
        async with self._claiming:
            if not self.allow_pick_jobs:
                return 0
            self._claim_number += 1
            token = f"{self._name}:{self._claim_number}"
            claims = await self._queue.claim(free, self._settings.lease_seconds, token, self._limits)
            for claim in claims:
                self._log_loss(claim)
                earlier = self.tasks.get(claim.run_id)
                self.claims[claim.run_id] = claim
                task = self.tasks[claim.run_id] = self.loop.create_task(self._run(claim, earlier))
                task.add_done_callback(partial(self._ended, claim))
            self._note_occupancy()
        return len(claims)

    async def _run(self, claim: Claim, earlier: asyncio.Task[Outcome] | None) -> Outcome:
        """Runs the job under its claim. Only the job's id is trusted, the run's; the message's content is ignored.

        A worker that slept through its lease may have claimed its own run again. The attempt that still runs continues
        under the new claim; where another worker has begun the next attempt meanwhile, this one ends first.
        """
        enter_run(claim.run_id)
        if earlier is not None and not await self._goes_on(claim.run_id):
            self._executor.lose(claim.run_id)
            await asyncio.wait({earlier})
            earlier = None
        uncounted = self._is_uncounted(claim.loss)
        if earlier is None and self._quarantine is not None and self._quarantine.takes(claim):
            stay = await self._quarantine.execute(claim, partial(self._forget_claim, claim))
            if stay is Stay.GIVEN_BACK and self._forget_claim(claim):
                await self._queue.release(claim, done=False)
            if stay is not Stay.STOPPED:
                return Outcome.AGAIN
        try:
            with site_code:
                outcome = await (
                    earlier or self._executor.execute(claim.run_id, uncounted=uncounted, claim=claim)
                )
        except Exception:
            self.jobs_failed += 1
            if self._forget_claim(claim):
                with suppress(QueueUnavailable):  # the run is claimed again when the lease ends by itself
                    await self._queue.blame(claim)
            raise
        match outcome:
            case Outcome.DONE:
                self.jobs_complete += 1
            case Outcome.AGAIN | Outcome.FOREIGN:
                self.jobs_retried += 1
            case _:
                assert_never(outcome)
        if not self._forget_claim(claim):
            return outcome
        if outcome is Outcome.FOREIGN:
            await self._queue.put_aside(claim)
        elif not await self._queue.release(claim, done=outcome is Outcome.DONE):
            log.warning(
                "a claim could not be released: another worker has the lease",
                action="release_refused",
                run_id=claim.run_id,
            )
        return outcome

    def _log_loss(self, claim: Claim) -> None:
        if claim.loss is not None:
            seconds = claim.lapsed_seconds + self._settings.lease_seconds
            log.info(
                "a run is taken over from a worker that was lost: its next attempt begins",
                action="run_taken_over",
                run_id=claim.run_id,
                from_worker=claim.loss.process or None,
                company=claim.loss.company,
                after_seconds=round(seconds, 1) if claim.loss.process else None,
            )

    async def _goes_on(self, run_id: str) -> bool:
        attempt = self._executor.attempts.get(run_id)
        return attempt is not None and await attempt.goes_on(self._runs)

    def _is_uncounted(self, loss: Loss | None) -> bool:
        """Whether the lost attempt does not count. Without a quarantine, one that was lost in company counts too."""
        if loss is None or self._settings.run_max_attempts == 1:
            return False
        return loss.company == 0 or (self._quarantine is not None and not loss.counts)

    async def _wait_for_slot(self) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=BELL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(BELL_SECONDS)

    def _ended(self, claim: Claim, task: asyncio.Task[Any]) -> None:
        if self.tasks.get(claim.run_id) is task:
            del self.tasks[claim.run_id]
            self._note_occupancy()
        self._forget_claim(claim)  # of a job that failed before its release
        if (error := error_of(task)) is not None and not (task.cancelled() and not self.allow_pick_jobs):
            log.error(
                "executing a job failed: its lease expires, and the run is claimed again",
                action="job_failed",
                run_id=claim.run_id,
                **failure(error),
            )

    def _note_occupancy(self) -> None:
        self._occupancy.runs = len(self.tasks)
        RUNS.set(len(self.tasks))

    def _forget_claim(self, claim: Claim) -> bool:
        """From now on the claim is not renewed; False where it was not, or where a later one has taken its place."""
        if self.claims.get(claim.run_id) is not claim:
            return False
        del self.claims[claim.run_id]
        return True


async def _never_called(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    """arq wants a function for each job; ours go another way."""
    raise NotImplementedError
