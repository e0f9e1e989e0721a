"""The end of a lease as an event, and its renewal: tests whose lease is long wait for neither.

A test kills or freezes the holder, or cuts it off, and then ends the lease: a machine may be as slow as it likes before
that, and no lease ends by itself.
"""

from __future__ import annotations

import redis
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from tests.support.system import wait_until


def end_lease(redis_url: str, run_id: str) -> None:
    """As if its time had come: nobody holds the run, and it is due."""
    with redis.Redis.from_url(redis_url) as client, client.pipeline(transaction=True) as pipeline:
        pipeline.delete(keys.lease(run_id))
        pipeline.zadd(keys.QUEUE, {run_id: 0}, xx=True)
        deleted, _ = pipeline.execute()
    assert deleted, f"nobody had a lease on {run_id}"


async def renewed(client: Redis, run_id: str, times: int = 1) -> None:
    """Waits until somebody has renewed the run's lease so many times from now on."""
    left_ms, seen = await client.pttl(keys.lease(run_id)), 0

    async def enough() -> bool:
        nonlocal left_ms, seen
        before, left_ms = left_ms, await client.pttl(keys.lease(run_id))
        assert left_ms > 0, f"nobody has a lease on {run_id}"
        seen += left_ms > before
        return seen >= times

    await wait_until(f"the lease is renewed {times} times", enough)
