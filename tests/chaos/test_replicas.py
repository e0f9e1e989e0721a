"""The failover of a chaos run, on two real servers."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError

from relaykit.local.data_directory import data_directory
from tests.chaos.replicas import follow, hand_over
from tests.chaos.services import redis_services


async def test_the_replica_has_everything_and_the_old_primary_refuses_on_connections_that_stay(
    tmp_path: Path,
) -> None:
    with data_directory(tmp_path / "data") as directory:
        one, other = redis_services(directory)
        await one.start()
        await other.start()
        try:
            async with Redis.from_url(one.url) as old:
                await old.set("key", "value")
                await follow(other, one)
                await hand_over(one, other)
                with pytest.raises(ReadOnlyError):
                    await old.set("key", "another")
            async with Redis.from_url(other.url) as new:
                assert await new.get("key") == b"value"
                await new.set("key", "another")
            await follow(one, other)
            await hand_over(other, one)
        finally:
            await one.close()
            await other.close()
