"""A link to a server on loopback: a TCP proxy that can delay, hold back, cut and refuse what passes.

A direction that is held passes nothing, be it bytes, their end or a reset, as where every packet is lost on the way;
new connections are taken all the same. What is sent meanwhile waits in the buffers of the sockets, and comes late once
the direction is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from relaykit.shared.tasks import end_tasks
from tests.support.network.link_connection import Connection, Direction
from tests.support.system import free_port

PORTS = {"redis": 6379, "postgresql": 5432, "postgres": 5432, "http": 80}
BACKLOG = 512


class Link:
    """Listens for as long as the block lasts."""

    def __init__(self, server_url: str) -> None:
        self.port = free_port()
        self.held: frozenset[Direction] = frozenset()
        self.delay_seconds: Callable[[], float] | None = None
        """How late each chunk comes that is read from now on; they stay in order."""
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.serve(server_url)

    def serve(self, server_url: str) -> None:
        """New connections go to this server."""
        self._server_url = server_url
        self._address = _address(server_url)

    @property
    def url(self) -> str:
        """The server's, with the link's address in place of its own."""
        parts = urlsplit(self._server_url)
        user, at, _ = parts.netloc.rpartition("@")
        query = [(name, value) for name, value in parse_qsl(parts.query) if name != "host"]
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}", query=urlencode(query)))

    @property
    def connections(self) -> int:
        """How many are open, on either side."""
        return len(self._connections)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opening = [connection.opening for connection in self._connections if connection.opening is not None]
        self.refuse()
        await end_tasks(opening)

    async def listen(self) -> None:
        """Takes connections, again after `refuse`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", self.port, backlog=BACKLOG)

    def refuse(self) -> None:
        """Resets all connections, and refuses new ones until `listen`."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Resets all connections, on both sides. New ones are taken."""
        for connection in list(self._connections):
            connection.reset()

    def hold(self, *directions: Direction) -> None:
        """Lets nothing pass in these directions, in both where none is named, until `release`."""
        self.held = frozenset(directions or Direction)

    def release(self) -> None:
        """Lets everything pass again: first what was held."""
        self.held = frozenset()
        for connection in list(self._connections):
            connection.go_on()

    @contextmanager
    def holding(self, *directions: Direction) -> Iterator[None]:
        self.hold(*directions)
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def delaying(self, delay_seconds: Callable[[], float]) -> Iterator[None]:
        self.delay_seconds = delay_seconds
        try:
            yield
        finally:
            self.delay_seconds = None

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        self.refuse()
        try:
            yield
        finally:
            await self.listen()

    def _accept(self) -> asyncio.Protocol:
        connection = Connection(self, self._connect, self._connections.discard)
        self._connections.add(connection)
        return connection.client

    async def _connect(self, end: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(self._address, Path):
            await loop.create_unix_connection(lambda: end, str(self._address))
        else:
            await loop.create_connection(lambda: end, *self._address)


def _address(url: str) -> tuple[str, int] | Path:
    parts = urlsplit(url)
    port = parts.port or PORTS[parts.scheme]
    folder = dict(parse_qsl(parts.query)).get("host", "")
    if folder.startswith("/"):
        return Path(folder, f".s.PGSQL.{port}")
    assert parts.hostname, f"no address in this URL of {parts.scheme}"
    return parts.hostname, port
