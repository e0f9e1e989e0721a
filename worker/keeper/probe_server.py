"""HTTP for probes and scrapes: GET alone, one request a connection, all of it bounded."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 32
REQUEST_SECONDS = 10.0
"""How long a connection may take, from its beginning to the last byte of the answer."""
BACKLOG = 64
LINGER_SECONDS = 1.0
"""How long a client has to read its answer and to close, because a connection that is closed with unread bytes loses
its answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    code: HTTPStatus
    body: bytes
    media_type: str = "application/json"

    @classmethod
    def json(cls, code: HTTPStatus, **body: object) -> Reply:
        return cls(code, json.dumps(body).encode())


Route = Callable[[], Awaitable[Reply]]


class ProbeServer:
    """Answers the routes on a bound socket until cancelled."""

    def __init__(self, listener: socket.socket, routes: Mapping[str, Route]) -> None:
        self._listener = listener
        self._routes = routes
        self._open = 0

    async def run(self) -> None:
        server = await asyncio.start_server(
            self._serve, sock=self._listener, limit=MAX_HEAD_BYTES, backlog=BACKLOG
        )
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    await self._answer(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            reply, is_head = Reply.json(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, status="too large"), False
        else:
            reply, is_head = await self._reply(head)
        fields = {
            "content-type": reply.media_type,
            "content-length": len(reply.body),
            "cache-control": "no-store",
            "connection": "close",
        }
        lines = [
            f"HTTP/1.1 {reply.code} {reply.code.phrase}",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if not is_head:
            writer.write(reply.body)
        await writer.drain()
        writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await reader.read(MAX_HEAD_BYTES):
                    pass

    async def _reply(self, head: bytes) -> tuple[Reply, bool]:
        """And whether its body is left out."""
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Reply.json(HTTPStatus.BAD_REQUEST, status="bad request"), False
        method, path = words[0], words[1].partition("?")[0]
        route = self._routes.get(path)
        if route is None:
            return Reply.json(HTTPStatus.NOT_FOUND, status="not found"), method == "HEAD"
        if method not in ("GET", "HEAD"):
            return Reply.json(HTTPStatus.METHOD_NOT_ALLOWED, status="method not allowed"), False
        return await route(), method == "HEAD"
