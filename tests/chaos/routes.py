"""The network of a chaos run: each process has a link of its own to each service, and clients one to each API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tests.support.network.links import Link

CLOSE_SECONDS = 20.0
POLL_SECONDS = 0.02


class Route(StrEnum):
    """From whom to whom."""

    CLIENT_API = "client-API"
    API_REDIS = "API-Redis"
    API_POSTGRES = "API-PostgreSQL"
    WORKER_REDIS = "worker-Redis"
    WORKER_POSTGRES = "worker-PostgreSQL"


@dataclass
class Routes:
    """The links, opened one by one as the processes behind them are known. They close with the block."""

    links: dict[Route, list[Link]] = field(default_factory=lambda: {route: [] for route in Route})
    _locks: dict[Link, asyncio.Lock] = field(default_factory=dict)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Routes:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def open(self, route: Route, server_url: str) -> str:
        """Opens one more link; its URL, to be used instead of the server's."""
        link = await self._stack.enter_async_context(Link(server_url))
        self.links[route].append(link)
        self._locks[link] = asyncio.Lock()
        return link.url

    @asynccontextmanager
    async def one(self, route: Route, random: Random) -> AsyncIterator[Link]:
        """One of the links, once no other fault has hold of it."""
        link = random.choice(self.links[route])
        async with self._locks[link]:
            yield link

    def serve(self, routes: Iterable[Route], server_url: str) -> None:
        """New connections go to this server; those that are open stay where they are."""
        for route in routes:
            for link in self.links[route]:
                link.serve(server_url)

    async def quiet(self) -> None:
        """Waits until every connection to a service has ended, now that the processes have; what stays is for the
        checks to tell."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(link.connections for link in self._to_services):
                    await asyncio.sleep(POLL_SECONDS)

    @property
    def _to_services(self) -> list[Link]:
        return [link for route in set(Route) - {Route.CLIENT_API} for link in self.links[route]]
