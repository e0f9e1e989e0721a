"""HTTP/1.1 by hand, over a socket: requests that no client library would send."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.system import WAIT_SECONDS


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


def raw_request(
    url: str,
    method: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
) -> RawAnswer:
    """Sends the bytes as they are, with a Host and a Content-Length of its own, and reads to the end."""
    parts = urlsplit(url)
    lines = [
        b"%b %b HTTP/1.1" % (method.encode(), target),
        b"Host: %b" % parts.netloc.encode(),
        b"Connection: close",
        *(b"%b: %b" % header for header in headers),
    ]
    if body or method in ("POST", "PUT"):
        lines.append(b"Content-Length: %d" % len(body))
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_SECONDS + 10) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return RawAnswer(response.status, response.headers, response.read())
