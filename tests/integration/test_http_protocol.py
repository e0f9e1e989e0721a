"""What HTTP/1.1 promises on one connection, over the API's own form of uvicorn's protocol."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from shared.settings import Settings
from tests.relay_servers import ScriptedAnswers
from tests.system import WAIT_SECONDS, create, running


async def test_requests_that_come_at_once_are_answered_in_their_order(settings: Settings) -> None:
    """The second and the third while the first one streams."""
    async with running(settings, ScriptedAnswers) as system:
        alice = await system.caller()
        address = urlsplit(system.urls[0])
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"Host: api\r\nAuthorization: Bearer {alice.token}\r\n"
        body = json.dumps(create("hello"))
        writer.write(
            (
                f"POST /chatkit HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
                f"GET /runs/none HTTP/1.1\r\n{head}\r\n"
                f"GET /healthz HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
            ).encode()
        )
        async with asyncio.timeout(WAIT_SECONDS):
            raw = await reader.read()
        writer.close()
    stream, _, rest = raw.partition(b": end completed\n\n")
    assert stream.startswith(b"HTTP/1.1 200 "), raw
    first, second = rest.index(b"HTTP/1.1 404 "), rest.index(b"HTTP/1.1 200 ")
    assert 0 < first < second, rest
