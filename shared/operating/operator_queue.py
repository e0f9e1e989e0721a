"""An operator's half of the queue: a run is made due now, and a worker is asked to drain."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from arq.constants import expires_extra_ms

from relaykit.shared.queue.fair_order import FAIR, FAIR_TTL_MS
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.queue.job_queue import JobQueue
from relaykit.shared.queue.lease_token import process_of
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, redis_errors
from relaykit.shared.redis.scripts import script

OPERATOR = "operator"
"""Stands in a lease where a worker's id does, while a run is kept from the worker that had it."""


class OperatorQueue(JobQueue):
    """All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._requeue = redis.register_script(script(FAIR, Path(__file__).parent / "requeue.lua"))

    async def requeue(self, run_id: str, flow: Flow, *, take_seconds: float = 0) -> tuple[str, str]:
        """What was done, and the id of the worker that has the run, or had: see requeue.lua.

        `take_seconds`: a lease is taken away, and others wait for so long, so that its worker notices first.
        """
        with redis_errors():
            done, token = await self._requeue(
                keys=self._named.each(
                    keys.QUEUE, keys.lease(run_id), keys.job(run_id), keys.BELL, keys.FAIR_PREFIX
                ),
                args=[
                    run_id,
                    self.message(run_id),
                    expires_extra_ms,
                    keys.BELL_TTL_SECONDS,
                    flow.path,
                    flow.tenant_weight,
                    flow.caller_weight,
                    int(take_seconds * 1000),
                    f"{OPERATOR}:{uuid4().hex}",
                    FAIR_TTL_MS,
                ],
            )
        return done.decode(), process_of(token.decode(errors="replace"))

    async def signal_drain(self, worker_id: str) -> None:
        """Asks the worker to drain. One that does not hear it is none of this release, or stands still."""
        with redis_errors():
            await self._redis.publish(self._named(keys.SIGNALS), keys.drain_signal(worker_id))
