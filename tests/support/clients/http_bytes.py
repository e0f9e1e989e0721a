"""HTTP as bytes over asyncio's sockets: clients that send what they like, as slowly as they like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.system import WAIT_SECONDS


@dataclass(frozen=True)
class Head:
    """One answer, of which the head was read, and the body where it has a length."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's."""
        return self.error["code"]

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


@dataclass
class RawConnection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    sent_bytes: int = 0

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.sent_bytes += len(data)

    async def send_in_vain(self, pieces: Iterable[bytes]) -> None:
        """Sends until the other side has closed."""
        with suppress(ConnectionError):
            for piece in pieces:
                await self.send(piece)

    @asynccontextmanager
    async def sending(self, pieces: Iterable[bytes]) -> AsyncIterator[None]:
        """Sends while the block runs, and no longer."""
        task = asyncio.create_task(self.send_in_vain(pieces))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def answer(self) -> Head:
        """The next answer; fails where none comes."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Head(int(first.split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """All that still comes until the API closes; fails where it does not."""
        found = b""
        async with asyncio.timeout(WAIT_SECONDS):
            with suppress(ConnectionError):
                while piece := await self.reader.read(1 << 20):
                    found += piece
        return found


@asynccontextmanager
async def connected(url: str, data: bytes = b"", **options: Any) -> AsyncIterator[RawConnection]:
    """A connection to the API, on which `data` has been sent."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, **options)
    connection = RawConnection(reader, writer)
    try:
        await connection.send(data)
        yield connection
    finally:
        writer.transport.abort()


async def ask(url: str, *pieces: bytes) -> tuple[Head, bytes]:
    """The first answer to the bytes, which are sent while it is read; and what comes after it until the API closes."""
    async with connected(url) as connection, connection.sending(pieces):
        answer = await connection.answer()
        return answer, await connection.rest()
