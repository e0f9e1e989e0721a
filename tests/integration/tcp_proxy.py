"""A TCP proxy in front of a real server, which can refuse, cut and freeze its connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict

CHUNK_BYTES = 65_536


class TcpProxy:
    """Listens on one loopback port for as long as the block lasts; the server behind it may change."""

    def __init__(self, database_url: str) -> None:
        self.serve(database_url)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def serve(self, database_url: str) -> None:
        """New connections go to this server."""
        self._target = conninfo_to_dict(database_url)

    @property
    def database_url(self) -> str:
        target = self._target
        secret = f":{target['password']}" if target.get("password") else ""
        return f"postgresql://{target['user']}{secret}@127.0.0.1:{self.port}/{target['dbname']}"

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Ends every connection and refuses new ones until `listen`."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Connections stay open and nothing passes any more, as with a host that has lost its power."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            try:
                await self._connect(reader, writer)
            finally:
                writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = str(self._target["host"]), self._target.get("port", 5432)
        if host.startswith("/"):
            behind = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            behind = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, behind[1]))
                both.create_task(self._pump(behind[0], writer))
        finally:
            behind[1].close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
