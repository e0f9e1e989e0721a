"""Workers for the test of the life of runs: their claims, their heartbeat, their drain and their sudden end."""

from __future__ import annotations

from relaykit.worker.execution.stop import Stop
from relaykit.worker.keeper.heartbeat import Heartbeat
from relaykit.worker.leases.claims import Claim
from tests.properties.life import LEASE_SECONDS, World
from tests.properties.life_job import Job


class Worker:
    """One worker process: its executor, its claims, and the jobs that it has under them."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.claims: dict[str, Claim] = {}
        self.executor = world.executor()
        self.jobs: list[Job] = []
        self._heartbeat = Heartbeat(world.queue, world.settings, self.claims, self._stop)
        self._claims_made = 0

    async def claim(self, free: int) -> None:
        self._claims_made += 1
        token = f"{self.name}:{self._claims_made}"
        for claim in await self.world.queue.claim(free, LEASE_SECONDS, token):
            self.claims[claim.run_id] = claim
            earlier = next((job for job in self.unfinished[::-1] if job.run_id == claim.run_id), None)
            if earlier is not None and await self._goes_on(claim.run_id):
                # the worker slept through its lease, and no other has begun the run again
                earlier.claim = claim
                continue
            if earlier is not None:  # that attempt ends first
                self.executor.lose(claim.run_id)
            job = Job(self, claim, earlier)
            self.jobs.append(job)
            await job.process.stands()

    async def _goes_on(self, run_id: str) -> bool:
        """As ArqWorker does it."""
        attempt = self.executor.attempts.get(run_id)
        return attempt is not None and await attempt.goes_on(self.world.runs)

    def _stop(self, claim: Claim, reason: Stop) -> None:
        """As the keeper does it."""
        attempt = self.executor.attempts.get(claim.run_id)
        if attempt is not None and self.claims.get(claim.run_id) is claim:
            attempt.stop(reason)

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.process.done]

    async def stands(self) -> None:
        """Returns when all of its jobs stand still: a stop has reached them."""
        for job in self.jobs:
            await job.process.stands()

    async def beat(self) -> None:
        claims = list(self.claims.values())
        await self._heartbeat._renew(claims, 0)

    async def kill(self) -> None:
        """It is gone, with all that it knew; another one has its name."""
        for job in self.unfinished:
            await job.kill()
        self.jobs.clear()
        self.claims.clear()
        self.executor = self.world.executor()
