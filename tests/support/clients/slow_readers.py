"""Clients that read when they like, if at all."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

from tests.support.system import Caller


async def raw_stream(
    url: str, caller: Caller, run_id: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The stream of a run, to a socket that takes a few KB."""
    address = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (address.hostname, address.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    request = f"GET /runs/{run_id}/events HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in caller._headers.items())
    writer.write(request.encode() + b"\r\n")
    await writer.drain()
    return reader, writer
