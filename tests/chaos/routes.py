"""The network of a chaos run: each process has a link of its own to each service, and clients one to each API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from tests.links import Link
from tests.system import wait_until

CLOSE_SECONDS = 20.0


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

    async def closed(self) -> None:
        """Waits until no connection goes through a link to a service: all processes have ended."""
        for route in set(Route) - {Route.CLIENT_API}:
            for link in self.links[route]:
                await wait_until(
                    f"a link of {route} is empty", lambda link=link: link.connections == 0, CLOSE_SECONDS
                )
