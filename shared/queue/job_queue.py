"""The queue of runs: arq's keys, moved only by our scripts. A job's message is JSON and holds the run's id alone.

What both sides do with a job is here. Admission's half is api/admission/admission_queue.py; a worker's, which claims,
is worker/leases/claim_queue.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arq.constants import expires_extra_ms
from arq.jobs import serialize_job

from relaykit.shared.queue.fair_order import FAIR, FAIR_TTL_MS, PLACES
from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, Flow
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import Call, call, script

RUN_FUNCTION = "run"
"""The one arq function."""

_FOLDER = Path(__file__).parent


def serialize(data: Any) -> bytes:
    """A job's message. Never pickle: a writable Redis must not mean code execution."""
    return json.dumps(data, separators=(",", ":")).encode()


def deserialize(data: bytes) -> Any:
    return json.loads(data)


class JobQueue:
    """Gives runs their jobs and takes these off again, each in one round trip. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._named = names_of(redis)
        self._enqueue = redis.register_script(script(FAIR, PLACES, _FOLDER / "enqueue.lua"))
        self._discard = redis.register_script(script(FAIR, _FOLDER / "discard.lua"))

    async def enqueue(self, run_id: str, flow: Flow = UNKNOWN_FLOW) -> bool:
        """Makes the run due now, in its flow, and wakes a worker; False where its job was there."""
        [added] = await call(self._redis, self.enqueue_call(run_id, flow))
        return bool(added)

    def enqueue_call(self, run_id: str, flow: Flow, place: str = "") -> Call:
        """The same as a call, to go with others; the job takes the place over that its request holds in the queue."""
        return Call(
            self._enqueue,
            self._named.each(keys.QUEUE, keys.job(run_id), keys.BELL, keys.FAIR_PREFIX),
            [
                run_id,
                self.message(run_id),
                expires_extra_ms,
                keys.BELL_TTL_SECONDS,
                flow.path,
                flow.tenant_weight,
                flow.caller_weight,
                place,
                FAIR_TTL_MS,
            ],
        )

    def message(self, run_id: str) -> bytes:
        """A job's message, made now."""
        return serialize_job(RUN_FUNCTION, (run_id,), {}, None, int(time.time() * 1000), serializer=serialize)

    async def discard(self, run_id: str, flow: Flow) -> None:
        """Takes a job that no worker holds off the queue: its run has ended."""
        await self.discard_all([run_id], flow)

    async def discard_all(self, run_ids: Sequence[str], flow: Flow) -> None:
        """The same for runs of one flow, in one round trip."""
        if run_ids:
            await call(self._redis, *(self._discard_call(run_id, flow) for run_id in run_ids))

    def _discard_call(self, run_id: str, flow: Flow) -> Call:
        of_run = (keys.job(run_id), keys.tries(run_id))
        return Call(
            self._discard,
            self._named.each(keys.QUEUE, *of_run, keys.BELL, keys.FAIR_PREFIX),
            [run_id, flow.path, keys.BELL_TTL_SECONDS, FAIR_TTL_MS],
        )

    async def signal_cancel(self, run_id: str, flag_seconds: float) -> None:
        """Tells the worker that has the run: now over the channel, and at its next heartbeat by the flag."""
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(self._named(keys.cancel_flag(run_id)), "1", px=int(flag_seconds * 1000))
                pipeline.publish(self._named(keys.SIGNALS), run_id)
                await pipeline.execute()
