"""Commands to Redis, many in one round trip, at the price of their bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
from redis.asyncio.connection import parse_url

READ_BYTES = 256 * 1024


class Pipe:
    """Takes what the product puts into a pipeline of redis-py."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packed: list[bytes] = []
        self._replies = hiredis.Reader()

    def command(self, *words: Any) -> None:
        self._packed.append(hiredis.pack_command(words))

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> None:
        self.command("EVALSHA", sha, numkeys, *keys_and_args)

    async def flush(self) -> list[Any]:
        """Sends all of it and gives the replies. Raises the first error among them."""
        expected = len(self._packed)
        self._writer.write(b"".join(self._packed))
        self._packed.clear()
        replies: list[Any] = []
        while len(replies) < expected:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise ConnectionResetError("Redis has closed the connection")
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not False:
                if isinstance(reply, Exception):
                    raise reply
                replies.append(reply)
        return replies


@asynccontextmanager
async def open_pipe(url: str) -> AsyncIterator[Pipe]:
    """Over a connection of its own."""
    where = parse_url(url)
    if "path" in where:
        reader, writer = await asyncio.open_unix_connection(where["path"], limit=READ_BYTES)
    else:
        reader, writer = await asyncio.open_connection(where["host"], where["port"], limit=READ_BYTES)
    pipe = Pipe(reader, writer)
    try:
        if "password" in where:
            pipe.command("AUTH", where.get("username", "default"), where["password"])
            await pipe.flush()
        yield pipe
    finally:
        writer.close()
        await writer.wait_closed()
