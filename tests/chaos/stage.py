"""All that a fault can lay its hands on."""

from __future__ import annotations

from asyncio import Task
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import asyncpg
from redis.asyncio import Redis

from relaykit.local.data_directory import DataDirectory
from tests.chaos.record import Outage
from tests.chaos.routes import Routes
from tests.chaos.services import Service
from tests.chaos.slots import Slot

OBSERVER = "chaos"
"""The application name of the driver's own connections to PostgreSQL; the product's is another."""
PRODUCT = "relaykit"
REDIS_SECONDS = 20.0
"""More than any fault keeps it frozen."""


@dataclass
class Stage:
    """Processes, services, the network between them, and the streams that clients have open."""

    directory: DataDirectory
    lease_seconds: float
    redis: Service
    """The primary."""
    spare_redis: Service
    """What the primary fails over to; it has the same lock."""
    postgres: Service
    routes: Routes
    apis: list[Slot] = field(default_factory=list)
    workers: list[Slot] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    """Of the APIs, as clients reach them."""
    streams: set[Task[None]] = field(default_factory=set)
    """Each reads one stream; cancelled, its client closes the socket."""
    data_losses: list[Outage] = field(default_factory=list)

    @property
    def slots(self) -> list[Slot]:
        return [*self.apis, *self.workers]

    @asynccontextmanager
    async def a_worker(self, random: Random) -> AsyncIterator[Slot]:
        """One of the workers, once no other fault has hold of it."""
        slot = random.choice(self.workers)
        async with slot.lock:
            yield slot

    @asynccontextmanager
    async def an_api(self, random: Random) -> AsyncIterator[Slot]:
        slot = random.choice(self.apis)
        async with slot.lock:
            yield slot

    @asynccontextmanager
    async def redis_client(self) -> AsyncIterator[Redis]:
        async with Redis.from_url(self.redis.url, socket_timeout=REDIS_SECONDS) as client:
            yield client

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            self.postgres.url, server_settings={"application_name": OBSERVER}, timeout=30
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=10)

    @asynccontextmanager
    async def losing_data(self) -> AsyncIterator[None]:
        """Notes that Redis forgets all it holds in this block."""
        began_at = datetime.now(UTC)
        yield
        self.data_losses.append(Outage(began_at, datetime.now(UTC)))
