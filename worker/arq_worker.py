"""arq's worker with another way to the queue: one claim script, a lease, a bell instead of a poll, a fenced release.

Why each of these, with figures against stock arq, is in docs/decisions/0003-claim-and-lease.md.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, assert_never
from uuid import uuid4

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import RedisError

from shared.errors import QueueUnavailable
from shared.log import failure
from shared.queue import RUN_FUNCTION, Claim, Queue, RunningLimits, deserialize, serialize
from shared.settings import Settings
from worker.executor import Executor, Outcome

BELL_SECONDS = 1.0
"""How long an idle worker waits for the bell before it looks by itself: a ring can be lost with its connection."""
OUTAGE_SECONDS = 0.5

log = structlog.get_logger()


class ArqWorker(Worker):
    """Claims, executes and releases runs. `claims` holds what it has claimed, by run id."""

    def __init__(
        self,
        settings: Settings,
        redis: ArqRedis,
        queue: Queue,
        bell: Queue,
        executor: Executor,
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
        self.claims: dict[str, Claim] = {}
        self._settings = settings
        self._queue = queue
        self._bell = bell
        self._executor = executor
        self._limits = RunningLimits(settings.tenant_max_running, settings.caller_max_running)
        self._claiming = asyncio.Lock()
        self._name = uuid4().hex
        self._claim_number = 0

    async def main(self) -> None:
        """arq's loop alone.

        arq's own asks INFO and DBSIZE at its start, for a log line, and writes a health key that only arq reads: the
        user of docs/security.md is not allowed to.
        """
        while True:
            await self._poll_iteration()

    async def _poll_iteration(self) -> None:
        """One turn: claim what is due, wait for the bell or a free slot."""
        try:
            free = self.max_jobs - len(self.tasks)
            claimed = await self._claim(free) if self.allow_pick_jobs and free > 0 else 0
            if not self.allow_pick_jobs or free == claimed:
                await self._wait_for_slot()
            elif claimed < free:
                await self._bell.wait_for_bell(BELL_SECONDS)
        except (QueueUnavailable, RedisError) as error:
            log.warning("queue unreachable", action="queue_outage", **failure(error))
            await asyncio.sleep(OUTAGE_SECONDS)

    async def stop_claiming(self) -> None:
        """Returns when no claim is under way; there will be no other."""
        self.allow_pick_jobs = False
        async with self._claiming:
            return

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
                earlier = self.tasks.get(claim.run_id)
                self.claims[claim.run_id] = claim
                task = self.tasks[claim.run_id] = self.loop.create_task(self._run(claim, earlier))
                task.add_done_callback(partial(self._ended, claim))
        return len(claims)

    async def _run(self, claim: Claim, earlier: asyncio.Task[Any] | None) -> None:
        """Runs the job under its claim; its id is the run's, and what its message says besides is nobody's word.

        A worker that slept through its lease may have claimed its own run again: the earlier attempt ends first.
        """
        if earlier is not None:
            self._executor.lose(claim.run_id)
            await asyncio.wait({earlier})
        try:
            outcome = await self._executor.execute(claim.run_id)
        except Exception:
            self.jobs_failed += 1
            self._forget_claim(claim)  # the run is claimed again when the lease ends by itself
            raise
        match outcome:
            case Outcome.DONE:
                self.jobs_complete += 1
            case Outcome.AGAIN | Outcome.FOREIGN:
                self.jobs_retried += 1
            case _:
                assert_never(outcome)
        if not self._forget_claim(claim):
            return
        if outcome is Outcome.FOREIGN:
            await self._queue.put_aside(claim)
        elif not await self._queue.release(claim, done=outcome is Outcome.DONE):
            log.warning("lease was lost", action="release_refused", run_id=claim.run_id)

    async def _wait_for_slot(self) -> None:
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=BELL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(BELL_SECONDS)

    def _ended(self, claim: Claim, task: asyncio.Task[Any]) -> None:
        if self.tasks.get(claim.run_id) is task:
            del self.tasks[claim.run_id]
        self._forget_claim(claim)  # of a job that failed before its release
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job failed", action="job_failed", run_id=claim.run_id, **failure(error))

    def _forget_claim(self, claim: Claim) -> bool:
        """From now on the claim is not renewed; False where it was not, or where a later one has taken its place."""
        if self.claims.get(claim.run_id) is not claim:
            return False
        del self.claims[claim.run_id]
        return True


async def _never_called(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    """arq wants a function for each job; ours go another way."""
    raise NotImplementedError
