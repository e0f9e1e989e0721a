"""The queue: arq's keys, moved only by our scripts. A job's message is JSON and holds the run's id alone."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, cast

from arq.constants import expires_extra_ms
from arq.jobs import serialize_job

from shared import keys
from shared.redis import Redis, script, translated

RUN_FUNCTION = "run"
"""The one arq function."""


class Lease(IntEnum):
    """What a renewal says of a lease."""

    LOST = 0
    HELD = 1
    CANCEL = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a run: the token proves it."""

    run_id: str
    token: str
    asked_at: float = field(default=0.0, compare=False)
    """When it was asked for, by time.monotonic(): the lease is not older."""


def serialize(data: Any) -> bytes:
    """A job's message. Never pickle: a writable Redis must not mean code execution."""
    return json.dumps(data, separators=(",", ":")).encode()


def deserialize(data: bytes) -> Any:
    return json.loads(data)


class Queue:
    """Enqueue, claim, renew and release, each one round trip. All raise QueueUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._enqueue = redis.register_script(script("enqueue"))
        self._claim = redis.register_script(script("claim"))
        self._renew = redis.register_script(script("renew"))
        self._release = redis.register_script(script("release"))

    async def enqueue(self, run_id: str) -> bool:
        """Makes the run due now and wakes a worker; False where its job was there."""
        message = serialize_job(
            RUN_FUNCTION, (run_id,), {}, None, int(time.time() * 1000), serializer=serialize
        )
        with translated():
            added = await self._enqueue(
                keys=[keys.QUEUE, keys.job(run_id), keys.BELL],
                args=[run_id, message, expires_extra_ms, keys.BELL_TTL_SECONDS],
            )
        return bool(added)

    async def claim(self, free: int, lease_seconds: float, token: str) -> list[Claim]:
        """Takes up to `free` due jobs. `token` must be unlike that of any other claim."""
        asked_at = time.monotonic()
        with translated():
            taken = await self._claim(
                keys=[keys.QUEUE, keys.LEASE_PREFIX], args=[free, int(lease_seconds * 1000), token]
            )
        return [Claim(run_id.decode(), token, asked_at) for run_id in taken]

    async def renew(
        self, claims: Sequence[Claim], lease_seconds: float, journal_ttl_seconds: float
    ) -> list[Lease]:
        """Renews all leases of a worker and the time to live of their journals."""
        key_list: list[str] = [keys.QUEUE]
        arguments: list[str | int] = [int(lease_seconds * 1000), int(journal_ttl_seconds * 1000)]
        for claim in claims:
            key_list += (keys.lease(claim.run_id), keys.journal(claim.run_id), keys.cancel_flag(claim.run_id))
            arguments += (claim.run_id, claim.token)
        with translated():
            return [Lease(state) for state in await self._renew(keys=key_list, args=arguments)]

    async def release(self, claim: Claim, *, done: bool) -> bool:
        """Gives the job up, for good or to be due again now; False where the lease was lost."""
        with translated():
            released = await self._release(
                keys=[
                    keys.QUEUE,
                    keys.lease(claim.run_id),
                    keys.job(claim.run_id),
                    keys.tries(claim.run_id),
                    keys.BELL,
                ],
                args=[claim.run_id, claim.token, "done" if done else "again", keys.BELL_TTL_SECONDS],
            )
        return bool(released)

    async def discard(self, run_id: str) -> None:
        """Takes a job that nobody holds off the queue: its run has ended."""
        with translated():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrem(keys.QUEUE, run_id)
                pipeline.delete(keys.job(run_id), keys.tries(run_id))
                await pipeline.execute()

    async def signal_cancel(self, run_id: str, flag_seconds: float) -> None:
        """Tells the worker that has the run: now over the channel, and at its next heartbeat by the flag."""
        with translated():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(keys.cancel_flag(run_id), "1", px=int(flag_seconds * 1000))
                pipeline.publish(keys.SIGNALS, run_id)
                await pipeline.execute()

    async def wait_for_bell(self, timeout_seconds: float) -> None:
        """Returns when the bell rings, or after the timeout."""
        with translated():
            await cast(Awaitable[Any], self._redis.blpop([keys.BELL], timeout=cast(int, timeout_seconds)))

    async def ping(self) -> None:
        with translated():
            await self._redis.ping()
