"""Workers for the test of the life of runs: their claims, their heartbeat, their drain and their sudden end."""

from __future__ import annotations

from typing import Any

from relaykit.worker.execution.stop import Stop
from relaykit.worker.keeper.heartbeat import Heartbeat
from relaykit.worker.leases.claims import Claim
from tests.properties.life import LEASE_SECONDS, World
from tests.properties.life_job import Job


class Worker:
    """One worker process: its claims, and the jobs that it has under them."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.claims: dict[str, Claim] = {}
        self.executing: dict[str, Any] = {}
        self.jobs: list[Job] = []
        self._heartbeat = Heartbeat(world.queue, world.settings, self.claims, self._stop)
        self._claims_made = 0

    async def claim(self, free: int) -> None:
        self._claims_made += 1
        token = f"{self.name}:{self._claims_made}"
        for claim in await self.world.queue.claim(free, LEASE_SECONDS, token):
            earlier = next((job for job in self.unfinished if job.run_id == claim.run_id), None)
            self.claims[claim.run_id] = claim
            executing = self.executing.get(claim.run_id)
            if executing is not None and await self._goes_on(executing):
                executing.claim = (
                    claim  # the worker slept through its lease, and nobody has begun the run again
                )
                continue
            job = Job(self, claim, earlier)
            self.jobs.append(job)
            if earlier is not None:  # that attempt ends first
                earlier.stop(Stop.LOST)
            await job.process.stands()

    async def _goes_on(self, job: Job) -> bool:
        """As Attempt.goes_on."""
        if job.stopped is Stop.LOST or job.run is None:
            return job.stopped is not Stop.LOST
        row = await self.world.runs.status(job.run_id)
        return row is not None and row[1] == job.run.attempt

    def _stop(self, claim: Claim, reason: Stop) -> None:
        job = self.executing.get(claim.run_id)
        if job is not None and self.claims.get(claim.run_id) is claim:
            job.stop(reason)

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.process.done]

    async def beat(self) -> None:
        claims = list(self.claims.values())
        await self._heartbeat._renew(claims, 0)

    def drain(self) -> None:
        for job in list(self.executing.values()):
            job.stop(Stop.DRAIN)

    async def kill(self) -> None:
        """It is gone, with all that it knew."""
        for job in self.unfinished:
            await job.process.kill()
        self.jobs.clear()
        self.claims.clear()
        self.executing.clear()
