"""The worker's half of the queue: claims on jobs, their renewal and their release."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from pathlib import Path

from arq.constants import expires_extra_ms

from relaykit.shared.queue.fair_order import FAIR, FAIR_TTL_MS
from relaykit.shared.queue.fair_share import UNKNOWN_FLOW
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.queue.lease_token import process_of
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, redis_errors
from relaykit.shared.redis.scripts import Call, call, script
from relaykit.worker.leases.claims import UNLIMITED, Claim, Loss, Renewal, RunningLimits
from relaykit.worker.leases.foreign_jobs import ForeignJobs

_FOLDER = Path(__file__).parent


class ClaimQueue(JobQueue):
    """Claims, renews and releases, each in one round trip. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._foreign = ForeignJobs()
        self._claim = redis.register_script(script(FAIR, _FOLDER / "claim.lua"))
        self._renew = redis.register_script(script(_FOLDER / "renew.lua"))
        self._release = redis.register_script(script(FAIR, _FOLDER / "release.lua"))

    async def claim(
        self, free: int, lease_seconds: float, token: str, limits: RunningLimits = UNLIMITED
    ) -> list[Claim]:
        """Takes up to `free` due jobs in fair order.

        `token` must be unlike that of any other claim; what stands before its last colon names the process.
        """
        asked_at = time.monotonic()
        arguments: list[str | int] = [free, int(lease_seconds * 1000), token, *limits]
        with redis_errors():
            taken, foreign, losses = await self._claim(
                keys=self._named.each(keys.QUEUE, keys.LEASE_PREFIX, keys.BELL, keys.FAIR_PREFIX),
                args=[
                    *arguments,
                    UNKNOWN_FLOW.path,
                    keys.BELL_TTL_SECONDS,
                    process_of(token),
                    keys.RUN_PREFIX,
                    FAIR_TTL_MS,
                ],
            )
        self._foreign.note(foreign)
        lost = {run_id: (Loss.parse(loss.decode()), int(late_ms) / 1000) for run_id, loss, late_ms in losses}
        return [Claim(run_id.decode(), token, asked_at, *lost.get(run_id, ())) for run_id in taken]

    async def renew(
        self, claims: Sequence[Claim], lease_seconds: float, journal_ttl_seconds: float
    ) -> list[Renewal]:
        """Renews leases of a worker and the time to live of their journals, in one call of a script."""
        run_ids = [claim.run_id for claim in claims]
        groups = (keys.lease, keys.journal, keys.cancel_flag, keys.followed)
        key_list = self._named.each(keys.QUEUE, *(key(run_id) for key in groups for run_id in run_ids))
        arguments: list[str | int] = [int(lease_seconds * 1000), int(journal_ttl_seconds * 1000), *run_ids]
        arguments += [claim.token for claim in claims]
        with redis_errors():
            return [Renewal(state) for state in await self._renew(keys=key_list, args=arguments)]

    async def release(self, claim: Claim, *, done: bool) -> bool:
        """Gives the job up, for good or to be due again now; False where the lease was lost."""
        [released] = await call(self._redis, self._release_call(claim, "done" if done else "again"))
        return bool(released)

    async def put_aside(self, claim: Claim) -> None:
        """Leaves a job to the application that queued it, because no run of this database has its id."""
        self._foreign.note([claim.run_id.encode()])
        await call(self._redis, self._release_call(claim, "aside"))

    async def leave(self, claims: Sequence[Claim], blamed: Set[str]) -> None:
        """Gives up every run of a process that is about to end itself because of the runs that are blamed.

        Their attempts count, and those of the others do not. All are due again now.
        """
        losses = [Loss(1 if claim.run_id in blamed else 0, 0, "") for claim in claims]
        await call(
            self._redis,
            *(self._release_call(claim, "again", loss) for claim, loss in zip(claims, losses, strict=True)),
        )

    async def lose(self, claims: Sequence[Claim], process: str) -> None:
        """Gives up the runs of a process that is lost, whose claims the caller knows. All are due again now."""
        loss = Loss(len(claims), 0, process)
        await call(self._redis, *(self._release_call(claim, "again", loss) for claim in claims))

    async def blame(self, claim: Claim) -> None:
        """The attempt failed outside the run's own error handling: it counts; the next begins when the lease ends."""
        await call(self._redis, self._release_call(claim, "later", Loss(1, 0, "")))

    def _release_call(self, claim: Claim, what: str, loss: Loss | None = None) -> Call:
        of_run = (key(claim.run_id) for key in (keys.lease, keys.job, keys.tries))
        company, process = ("", "") if loss is None else (loss.company, loss.process)
        return Call(
            self._release,
            self._named.each(keys.QUEUE, *of_run, keys.BELL, keys.FAIR_PREFIX),
            [
                claim.run_id,
                claim.token,
                what,
                keys.BELL_TTL_SECONDS,
                claim.process,
                company,
                process,
                expires_extra_ms,
                FAIR_TTL_MS,
            ],
        )

    async def holder(self, run_id: str) -> Claim | None:
        """The claim that holds the run's lease."""
        with redis_errors():
            token = await self._redis.get(self._named(keys.lease(run_id)))
        return None if token is None else Claim(run_id, token.decode(errors="replace"))
