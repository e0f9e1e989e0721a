"""What a worker has under one claim: the product's executor executes it, and stands at a gate before each of its steps.

Its worker may be asleep at any of these gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relaykit.shared.journal import Cursor, Field
from relaykit.shared.runs.run import Run
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import Outcome
from relaykit.worker.leases.claims import Claim
from tests.properties.life_process import Process, current_process

if TYPE_CHECKING:
    from tests.properties.life_worker import Worker

OFTEN = ("show", "text", "keep", "flush", "reply lost", "half")
ACTIONS = (*OFTEN * 3, "finish", "finish", "fail", "forbid")
"""What an attempt may do next, once it executes: its server's acts, and what becomes of what the publisher sends.

Most are such as leave it executing, so that there is something for the next attempt to take back.
"""


class Job:
    """A claimed job, from the claim to the release."""

    def __init__(self, worker: Worker, claim: Claim, earlier: Job | None) -> None:
        self.claim, self.run_id = claim, claim.run_id
        self.attempt: Attempt | None = None
        """Once it has begun in the run's row."""
        self.rewound = False
        """Whether the server was called: nothing of an earlier attempt is left then."""
        self.is_last = False
        """Whether its server has forbidden another attempt, or its caller."""
        self.ended = False
        """Whether it has ended the run's row."""
        self.put: dict[Cursor, tuple[Field, bytes]] = {}
        """All that it has sent to the journal."""
        self.worker = worker
        self._earlier = earlier
        self.process = Process(self._work, self)

    @property
    def run(self) -> Run | None:
        return None if self.attempt is None else self.attempt.run

    def stop(self, reason: Stop) -> None:
        """As the keeper, the executor's timer or the channel of signals has it stopped."""
        attempt = self.worker.executor.attempts.get(self.run_id)
        if attempt is not None and self.worker.claims.get(self.run_id) is self.claim:
            attempt.stop(reason)

    async def publish(self, how: str) -> None:
        """The publisher sends what the attempt has put into its journal."""
        if self.attempt is not None:
            await self.attempt.journal.send(how)  # type: ignore[attr-defined]

    async def go_on(self, what: str) -> None:
        if self._earlier is not None and not self._earlier.process.done:
            await self._earlier.go_on(what)
        else:
            await self.process.go_on(what)

    async def kill(self) -> None:
        await self.process.kill(None if self.attempt is None else self.attempt.producer)

    async def _work(self, process: Process) -> None:
        """As ArqWorker does it."""
        await process.gate()
        outcome = await self.worker.executor.execute(self.run_id)
        await process.gate()
        if self.worker.claims.get(self.run_id) is not self.claim:
            return
        del self.worker.claims[self.run_id]
        queue = self.worker.world.queue
        if outcome is Outcome.FOREIGN:
            await queue.put_aside(self.claim)
        else:
            await queue.release(self.claim, done=outcome is Outcome.DONE)


def current_job() -> Job:
    job = current_process().actor
    assert isinstance(job, Job)
    return job
