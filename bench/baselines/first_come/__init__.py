"""Baseline: the queue as it was before the fair order, first come, first served.

`python -m bench.baselines.first_come`: a worker that claims so, with the settings of the environment.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from arq.constants import expires_extra_ms
from arq.jobs import serialize_job

from relaykit.shared.queue.fair_share import UNKNOWN_FLOW, Flow
from relaykit.shared.queue.job_queue import RUN_FUNCTION, serialize
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis
from relaykit.shared.redis.scripts import Call
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import UNLIMITED, Claim, RunningLimits


class FirstComeQueue(ClaimQueue):
    """Enqueues, claims and releases with the scripts in this folder."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self._enqueue = redis.register_script(_script("enqueue"))
        self._claim = redis.register_script(_script("claim"))
        self._release = redis.register_script(_script("release"))

    def enqueue_call(self, run_id: str, flow: Flow = UNKNOWN_FLOW, place: str = "") -> Call:
        message: Any = serialize_job(
            RUN_FUNCTION, (run_id,), {}, None, int(time.time() * 1000), serializer=serialize
        )
        return Call(
            self._enqueue,
            [keys.QUEUE, keys.job(run_id), keys.BELL],
            [run_id, message, expires_extra_ms, keys.BELL_TTL_SECONDS],
        )

    async def claim(
        self, free: int, lease_seconds: float, token: str, limits: RunningLimits = UNLIMITED
    ) -> list[Claim]:
        asked_at = time.monotonic()
        taken = await self._claim(
            keys=[keys.QUEUE, keys.LEASE_PREFIX], args=[free, int(lease_seconds * 1000), token]
        )
        return [Claim(run_id.decode(), token, asked_at) for run_id in taken]


def _script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text()
