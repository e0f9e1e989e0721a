"""A Redis and its replica: one follows the other, and takes its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.chaos.services import Service
from tests.support.system import wait_until

REPLICATION_SECONDS = 60.0


async def follow(replica: Service, primary: Service) -> None:
    """Makes the one a replica of the other; returns when it has all of its data."""
    host, port, password = _address(primary)
    async with _client(replica) as redis:
        await redis.config_set("masterauth", password)
        await redis.replicaof(host, port)

        async def linked() -> bool:
            info = await redis.info("replication")
            return info["role"] == "slave" and info["master_link_status"] == "up"

        await wait_until(f"{replica.name} follows {primary.name}", linked, REPLICATION_SECONDS)


async def hand_over(old: Service, new: Service) -> None:
    """Has the replica take the primary's place, and the primary the replica's. Nothing that was answered is lost."""
    host, port, password = _address(new)
    async with _client(old) as redis:
        await redis.config_set("masterauth", password)

        async def begun() -> bool:
            try:
                await redis.execute_command("FAILOVER", "TO", host, port)
            except ResponseError:  # the replica's acknowledgements have not come yet
                return False
            return True

        await wait_until(f"{old.name} hands over to {new.name}", begun, REPLICATION_SECONDS)

        async def follows() -> bool:
            info = await redis.info("replication")
            return info["role"] == "slave" and info["master_link_status"] == "up"

        await wait_until(f"{old.name} follows {new.name}", follows, REPLICATION_SECONDS)


def _address(service: Service) -> tuple[str, int, str]:
    parts = urlsplit(service.url)
    assert parts.hostname
    assert parts.port
    assert parts.password
    return parts.hostname, parts.port, parts.password


@asynccontextmanager
async def _client(service: Service) -> AsyncIterator[Redis]:
    async with Redis.from_url(service.url, socket_timeout=REPLICATION_SECONDS) as client:
        yield client
