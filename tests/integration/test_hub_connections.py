"""A hub whose connection is lost again and again, while subscribers come and go."""

from __future__ import annotations

import asyncio
from random import Random

from redis.asyncio import Redis

from relaykit.api.relay.hub import Hub
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.journal import START, JournalReader
from relaykit.shared.redis.client import open_redis
from relaykit.shared.tasks import end_tasks

SUBSCRIBERS = 20
ROUNDS = 60
SEED = 3


async def test_subscribers_that_come_while_the_connection_is_lost_are_served_or_told_and_the_hub_lives(
    redis_url: str,
) -> None:
    """Each is told at worst that the queue is unavailable: another exception would be a 500, or end the API."""
    random = Random(SEED)
    served = 0
    async with (
        open_redis(redis_url, connections=1, reply_timeout_seconds=None) as notices,
        open_redis(redis_url, connections=2) as commands,
        Redis.from_url(redis_url, single_connection_client=True) as admin,
    ):
        hub = Hub(JournalReader(commands), commands, notices, tail_max_bytes=4096)
        listening = asyncio.create_task(hub.run())

        async def lose_connections() -> None:
            while True:
                await asyncio.sleep(random.uniform(0, 0.2))
                for _ in range(random.randint(1, 3)):
                    await admin.client_kill_filter(_type="pubsub")
                    await asyncio.sleep(0)

        async def come_and_go(number: int) -> None:
            nonlocal served
            for turn in range(ROUNDS):
                try:
                    subscription = await hub.subscribe(f"run_{number}_{turn}", START, expected=True)
                except QueueUnavailable:
                    continue
                assert subscription is not None
                served += 1
                await asyncio.sleep(random.uniform(0, 0.01))
                await hub.leave(subscription)

        losing = asyncio.create_task(lose_connections())
        try:
            await asyncio.gather(*(come_and_go(number) for number in range(SUBSCRIBERS)))
            assert not listening.done(), listening.exception()
        finally:
            await end_tasks([losing, listening])
    assert served > SUBSCRIBERS
