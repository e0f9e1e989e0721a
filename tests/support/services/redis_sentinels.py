"""Sentinels that a test starts around its own Redis servers, each a process of its own on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from relaykit.local.redis_server import redis_binary
from tests.support.services.databases import OLDEST
from tests.support.services.redis_nodes import Node, answers, redis_node, replicated
from tests.support.system import free_port, wait_until

MASTER = "main"
DOWN_AFTER_MS = 400
FAILOVER_TIMEOUT_MS = 3000


@dataclass(frozen=True)
class Sentinel:
    """One of them."""

    port: int
    process: subprocess.Popen[bytes]

    def client(self) -> Redis:
        return Redis(host="127.0.0.1", port=self.port, decode_responses=True)

    async def answers(self) -> bool:
        return await answers(self.process, self.client())

    async def state(self) -> dict[str, Any]:
        """What it knows of the primary."""
        async with self.client() as client:
            return dict((await client.sentinel_masters())[MASTER])


@dataclass(frozen=True)
class Watched:
    """A primary, its replica, and the sentinels that watch them."""

    primary: Node
    replica: Node
    sentinels: Sequence[Sentinel]

    @property
    def url(self) -> str:
        return sentinel_url(*(sentinel.port for sentinel in self.sentinels))

    async def names(self, node: Node) -> bool:
        """Whether all of them name the node as the primary."""
        return {int((await each.state())["port"]) for each in self.sentinels} == {node.port}


def sentinel_url(*ports: int, name: str = MASTER, query: str = "", scheme: str = "redis") -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"{scheme}+sentinel://{hosts}/{name}/0{query}"


@contextmanager
def sentinel(folder: Path, primary_port: int, *lines: str, port: int | None = None) -> Iterator[Sentinel]:
    """Watches the primary of that port; `lines` go into its configuration. Two have to agree that it is down."""
    port = port or free_port()
    configuration = folder / f"sentinel-{port}.conf"
    configuration.write_text(
        "\n".join(
            (
                f"port {port}",
                "bind 127.0.0.1",
                f"dir {folder}",
                f"sentinel monitor {MASTER} 127.0.0.1 {primary_port} 2",
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}",
                *lines,
                "",
            )
        )
    )
    process = subprocess.Popen(
        [str(redis_binary(OLDEST)), str(configuration), "--sentinel"],
        stdin=subprocess.DEVNULL,
        stdout=(folder / f"sentinel-{port}.log").open("ab"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield Sentinel(port, process)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def watched(folder: Path, *options: str, lines: Sequence[str] = ()) -> AsyncIterator[Watched]:
    """A primary with a replica, and three sentinels that know each other and both. `options` are the servers'."""
    with ExitStack() as stack:
        primary, replica = (stack.enter_context(redis_node(folder, *options)) for _ in range(2))
        for node in (primary, replica):
            await wait_until("Redis answers", node.answers)
        await replicated(primary, replica)
        sentinels = [stack.enter_context(sentinel(folder, primary.port, *lines)) for _ in range(3)]

        async def know_all(each: Sentinel) -> bool:
            if not await each.answers():
                return False
            state = await each.state()
            return (state["num-other-sentinels"], state["num-slaves"]) == (2, 1)

        for each in sentinels:
            await wait_until("the sentinel knows the others and the replica", lambda: know_all(each))  # noqa: B023
        yield Watched(primary, replica, sentinels)
