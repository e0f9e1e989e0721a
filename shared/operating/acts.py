"""What an operator does to runs and workers. Each act is noted with who has done it and what came of it.

An act that is refused has done nothing. Two at once do no harm: each change names what it may be made of.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from relaykit.shared.errors import RunNotFound
from relaykit.shared.journal import Journals
from relaykit.shared.metrics import count_ended
from relaykit.shared.operating.act_errors import ActRefused, WorkerNotFound
from relaykit.shared.operating.audit import Audit
from relaykit.shared.operating.operator_queue import OPERATOR, OperatorQueue
from relaykit.shared.operating.run_details import RunReader
from relaykit.shared.postgres import locks
from relaykit.shared.postgres.database import Database
from relaykit.shared.queue.fair_share import flow_of_run
from relaykit.shared.queue.worker_registry import WorkerRegistry
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.settings import Settings

DRAIN_POLL_SECONDS = 0.5
"""How often a worker is asked again to drain, until it says that it does."""

WAIT_ENDED: Final = "wait ended: a worker gives its client tool call up"

# A run that has had no attempt ends here. One that has is ended by a worker, which has to take back what it has shown.
CANCEL: Final = """
UPDATE runs SET
    cancel_requested = true,
    status = CASE WHEN status = 'running' OR attempt > 0 THEN status ELSE 'cancelled' END,
    ended_at = CASE WHEN status = 'running' OR attempt > 0 THEN ended_at ELSE now() END,
    token = CASE WHEN status = 'running' OR attempt > 0 THEN token ELSE NULL END
WHERE id = $1 AND status IN ('waiting', 'queued', 'running')
RETURNING status
"""

# The reaper gives the call up, because that may need code of the site's.
END_WAIT: Final = """
UPDATE awaited_calls SET until_at = least(until_at, now())
WHERE tenant = $1 AND owner = $2 AND thread_id = $3 AND run_id = $4 RETURNING item_id
"""


@dataclass(frozen=True, slots=True)
class Acts:
    """All raise DatabaseUnavailable and QueueUnavailable; the outcome that each returns is the one that is noted."""

    settings: Settings
    database: Database
    reader: RunReader
    journals: Journals
    queue: OperatorQueue
    registry: WorkerRegistry
    audit: Audit

    async def cancel(self, run_id: str, actor: str) -> str:
        """Ends a run that has not begun; a worker ends one that has. No code of the site's is told of it here.

        Of a run that has ended with a client tool call, whose output its thread awaits, it ends the wait: a worker's
        reaper gives the call up in its next round.

        `cancelled`, `stop requested`, or WAIT_ENDED. Where Redis is away after that, the row stands: the same act
        again signals again. Raises RunNotFound, ActRefused where it has ended, and nothing awaits its call.
        """
        run = await self.reader.row(run_id)
        async with self.database.transaction() as connection:
            await connection.execute(locks.THREAD_LOCK, *run.owner, run.thread_id)
            changed = await connection.fetchval(CANCEL, run_id)
            if changed is None:
                if await connection.fetchval(END_WAIT, *run.owner, run.thread_id, run_id) is None:
                    raise await self._why_not(run_id)
                await self.audit.note(actor, "cancel", run_id, WAIT_ENDED)
                return WAIT_ENDED
            status = Status(changed)
            outcome = "cancelled" if status is Status.CANCELLED else "stop requested"
            await self.audit.note(actor, "cancel", run_id, outcome)
        if status is Status.CANCELLED:
            count_ended(run.kind.value, status.value, None)
            await retry_briefly(lambda: self.journals.end(run_id, 0, status))
            await retry_briefly(lambda: self.queue.discard(run_id, flow_of_run(self.settings, run)))
        elif status is Status.RUNNING:
            await retry_briefly(lambda: self.queue.signal_cancel(run_id, self.settings.run_timeout_seconds))
        return outcome

    async def requeue(self, run_id: str, actor: str, *, force: bool = False) -> str:
        """Gives a queued run, or one whose worker is lost, its job now. With `force` also one that a worker holds.

        That worker's attempt is fenced, as one whose lease has ended: whatever it goes on to write is refused, and the
        attempt counts as a lost one does. Raises RunNotFound, ActRefused.
        """
        run = await self.reader.row(run_id)
        if run.status not in (Status.QUEUED, Status.RUNNING):
            raise self._not_due(run)
        take_seconds = self.settings.lease_seconds if force else 0.0
        async with self.audit.doing(actor, "requeue --force" if force else "requeue", run_id) as act:
            flow = flow_of_run(self.settings, run)
            done, worker_id = await self.queue.requeue(run_id, flow, take_seconds=take_seconds)
            match done:
                case "held" if worker_id == OPERATOR:
                    raise ActRefused(
                        "The run was taken from its worker a moment ago: it is due when that has noticed."
                    )
                case "held":
                    raise ActRefused(f"Worker {worker_id} has the run; with force its lease is taken away.")
                case "taken":
                    act.outcome = f"taken from worker {worker_id}, due in {take_seconds:g} s"
                case "due":
                    act.outcome = "its job is due now"
                case _:
                    act.outcome = "queued: it had no job"
            return act.outcome

    async def drain(self, worker_id: str, actor: str) -> str:
        """Has a worker drain as after SIGTERM: it claims nothing more, and ends; its supervisor starts it again.

        `draining`, or `no answer`, where it does not say within a lease that it does. Raises WorkerNotFound, ActRefused
        where it drains already.
        """
        workers = {worker.id: worker for worker in await self.registry.workers()}
        if worker_id not in workers:
            raise WorkerNotFound(f"There is no worker {worker_id!r}.")
        if workers[worker_id].draining:
            raise ActRefused("The worker drains already.")
        async with self.audit.doing(actor, "drain", worker_id) as act:
            ends_at = time.monotonic() + self.settings.lease_seconds
            while act.outcome is None:
                await self.queue.signal_drain(worker_id)
                await asyncio.sleep(DRAIN_POLL_SECONDS)
                if await self._drains(worker_id):
                    act.outcome = "draining"
                elif time.monotonic() > ends_at:
                    act.outcome = "no answer"
            return act.outcome

    async def _drains(self, worker_id: str) -> bool:
        workers = await self.registry.workers()
        return all(worker.draining for worker in workers if worker.id == worker_id)

    async def _why_not(self, run_id: str) -> RunNotFound | ActRefused:
        """The run has ended, or was deleted, meanwhile."""
        try:
            return self._not_due(await self.reader.row(run_id))
        except RunNotFound as error:
            return error

    def _not_due(self, run: Run) -> ActRefused:
        if run.status is Status.WAITING:
            return ActRefused("The run waits behind another of its thread; it is queued when that has ended.")
        return ActRefused(f"The run has ended: {run.status.value}.")
