"""What is besieged: one API process and two workers, on a Redis and a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2
from redis.asyncio import Redis

from tests.chaos.slots import Slot, close_all, kept
from tests.chaos.stage import OBSERVER
from tests.chaos.wire import http_client
from tests.integration.jwks_server import JwksServer, SigningKey, settings_for, signing_key
from tests.support.system import START_SECONDS, environment, free_port, wait_until

WORKERS = 2
RUNS_OF_ONE_WORKER = 12
"""Half of all slots are the share of the visitors' tenant beside the attackers': each visitor has one of them."""
KEY = signing_key(algorithm="EdDSA")
STALL_SECONDS = 1.5
"""It and HEAD_SECONDS are short, so that an attack of a few seconds sees its connections ended. The limits of callers
are the defaults."""
SWOLLEN = 1.2
"""A process that holds so many times what it held after the phase without an attack is started anew."""


@dataclass
class Stage:
    """The processes, and where they are reached."""

    issuer: SigningKey
    redis_url: str
    database_url: str
    environment: dict[str, str]
    logs: Path
    api: Slot
    port: int
    workers: list[Slot] = field(default_factory=list)
    held_mb: dict[str, float] = field(default_factory=dict)
    """By each process at the peak of the phase without an attack."""

    @asynccontextmanager
    async def redis_client(self) -> AsyncIterator[Redis]:
        async with Redis.from_url(self.redis_url, socket_timeout=20) as client:
            yield client

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            self.database_url, server_settings={"application_name": OBSERVER}, timeout=30
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    @asynccontextmanager
    async def limited_api(self, descriptors: int) -> AsyncIterator[tuple[Slot, int]]:
        """Another API process for the block, with so many descriptors, and its port."""
        port = free_port()
        given = {**self.environment, "PORT": str(port), "SIEGE_DESCRIPTORS": str(descriptors)}
        slot = Slot("api-limited", "tests.siege.limited_api", given, self.logs)
        async with kept([slot]):
            await _ready(port)
            yield slot, port
            await close_all([slot])

    async def restart(self, slot: Slot) -> None:
        """Ends a process in order, and returns when the next one can be used."""
        await slot.end(signal.SIGTERM)
        await self.ready()

    async def ready(self) -> None:
        await _ready(self.port)
        for worker in self.workers:
            await wait_until(
                f"{worker.name} has started", lambda worker=worker: _started(worker), START_SECONDS
            )  # type: ignore[misc]


@asynccontextmanager
async def staged(logs: Path, redis_url: str, database_url: str, head_seconds: float) -> AsyncIterator[Stage]:
    """Ready processes on these services; none of them is left after the block."""
    attachments = logs / "attachments"
    attachments.mkdir()
    with JwksServer(KEY) as jwks:
        settings = settings_for(
            jwks,
            redis_url=redis_url,
            database_url=database_url,
            database_pool_max=8,
            chatkit_server="tests.siege.server:SiegeServer",
            max_runs=RUNS_OF_ONE_WORKER,
            drain_seconds=2,
            ping_seconds=2,
            stall_seconds=STALL_SECONDS,
            attachments_url=attachments.as_uri(),
            attachments_key="k" * 32,
        )
        port = free_port()
        given = environment(settings, HEAD_SECONDS=str(head_seconds))
        api = Slot("api", "relaykit.api", {**given, "PORT": str(port)}, logs)
        workers = [
            Slot(f"worker-{number}", "relaykit.worker", given, logs) for number in range(1, WORKERS + 1)
        ]
        stage = Stage(KEY, redis_url, database_url, given, logs, api, port, workers)
        async with kept([api, *workers]):
            await asyncio.sleep(0)
            await stage.ready()
            yield stage
            await close_all([api, *workers])


async def _ready(port: int) -> None:
    async with http_client() as client:

        async def ready() -> bool:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            except httpx2.TransportError:
                return False

        await wait_until(f"the API on port {port} is ready", ready, START_SECONDS)


def _started(worker: Slot) -> bool:
    return worker.log.exists() and "worker_start" in worker.log.read_text(errors="replace")
