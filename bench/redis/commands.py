"""What a Redis is asked to do, counted command by command, also within scripts, by Redis itself (MONITOR)."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from redis.asyncio import Redis
from redis.asyncio.connection import parse_url

from relaykit import api, shared, worker

SETTLE_SECONDS = 10.0
LINE_BYTES = 64 * 1024 * 1024
"""MONITOR shows a command with all its arguments on one line."""

LINE = re.compile(rb'\+[0-9.]+ \[(\d+) (\S+)\] "([^"]*)"(?: "([^"]*)")?')


@dataclass
class Commands:
    """Counts of a block. A script goes by its file's name: `append`, where a plain command is `XADD`."""

    asked: Counter[str] = field(default_factory=Counter)
    """By clients: each is one command of a round trip."""
    in_scripts: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """As INFO counts them."""
        return self.asked.total() + self.in_scripts.total()


@asynccontextmanager
async def counted(redis_url: str) -> AsyncIterator[Commands]:
    """Counts what all clients of this numbered database do in the block."""
    address = parse_url(redis_url)
    reader, writer = await asyncio.open_connection(address["host"], address["port"], limit=LINE_BYTES)
    commands, marks = Commands(), asyncio.Queue[bytes]()
    async with Redis.from_url(redis_url, single_connection_client=True) as client:
        await client.ping()
        if password := address.get("password"):
            writer.write(f"AUTH {password}\r\n".encode())
            await reader.readline()
        writer.write(b"MONITOR\r\n")
        await reader.readline()
        reading = asyncio.create_task(_read(reader, int(address.get("db", 0)), commands, marks))
        try:
            yield commands
            mark = uuid4().hex
            await client.echo(mark)
            async with asyncio.timeout(SETTLE_SECONDS):
                while await marks.get() != mark.encode():
                    pass
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            writer.close()


async def _read(
    reader: asyncio.StreamReader, database: int, commands: Commands, marks: asyncio.Queue[bytes]
) -> None:
    names = script_names()
    while line := await reader.readline():
        found = LINE.match(line)
        if found is None or int(found[1]) != database:
            continue
        name = found[3].decode().upper()
        if name == "ECHO":
            marks.put_nowait(found[4])
        elif found[2] == b"lua":
            commands.in_scripts[name] += 1
        elif name in ("EVALSHA", "EVAL"):
            commands.asked[names.get(found[4].decode(), "another script")] += 1
        else:
            commands.asked[name] += 1


def script_names() -> dict[str, str]:
    """The product's scripts by their SHA-1."""
    files = [file for side in (api, worker, shared) for file in Path(side.__path__[0]).rglob("*.lua")]
    return {hashlib.sha1(file.read_bytes()).hexdigest(): file.stem for file in files}  # noqa: S324
