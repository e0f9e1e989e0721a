"""The connections that Redis has, and their violent end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.support.system import wait_until


async def connections(redis: Redis) -> list[dict[str, Any]]:
    """CLIENT LIST of the database that `redis` is on, without the connections of `redis` itself."""
    info = await redis.client_info()
    own = {info["id"]}
    return [
        client
        for client in await redis.client_list()
        if client["db"] == str(info["db"]) and int(client["id"]) not in own
    ]


def listens(client: dict[str, Any]) -> bool:
    return int(client["sub"]) > 0


def listens_to_runs(client: dict[str, Any]) -> bool:
    """An API's connection for notices while somebody follows a run there: a worker's has one channel alone."""
    return int(client["sub"]) > 1


async def kill(redis: Redis, clients: list[dict[str, Any]]) -> int:
    """Ends the connections at the server; how many there were."""
    killed = 0
    for client in clients:
        try:
            await redis.client_kill_filter(_id=client["id"])
        except ResponseError:
            continue  # it has gone by itself
        killed += 1
    return killed


@asynccontextmanager
async def writes_held(redis: Redis) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Redis takes no write until the end of the block; what is yielded kills the connections that wait with one.

    Workers wait too, in BLPOP, which counts as a write.
    """
    await redis.execute_command("CLIENT", "PAUSE", "60000", "WRITE")

    async def held() -> list[dict[str, Any]]:
        return [one for one in await connections(redis) if "b" in one["flags"] and "blpop" not in one["cmd"]]

    async def cut() -> None:
        await kill(redis, await wait_until("somebody waits to write", held))

    try:
        yield cut
    finally:
        await redis.execute_command("CLIENT", "UNPAUSE")
