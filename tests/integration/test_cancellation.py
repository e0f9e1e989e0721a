"""A task that talks to Redis can be cancelled at any moment, the one in which a reply comes included."""

from __future__ import annotations

import asyncio

from relaykit.shared.redis.client import open_redis
from relaykit.worker.reaper.queue_audit import QueueAudit
from tests.support.system import WAIT_SECONDS

ROUNDS = 300
AT_ONCE = 10


async def test_no_cancellation_is_lost(redis_url: str) -> None:
    """redis-py sends through asyncio.wait_for, which in Python 3.11 drops some: a worker then never stops."""
    async with open_redis(redis_url, connections=4) as redis:
        audit = QueueAudit(redis)

        async def loop() -> None:
            while True:
                await audit.take_round(1)

        for number in range(ROUNDS):
            tasks = [asyncio.create_task(loop()) for _ in range(AT_ONCE)]
            for _ in range(number % 30):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            _, lost = await asyncio.wait(tasks, timeout=WAIT_SECONDS)
            assert not lost, f"{len(lost)} tasks run on in round {number}"
