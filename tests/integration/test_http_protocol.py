"""What HTTP/1.1 promises on one connection, over the API's own form of uvicorn's protocol."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from relaykit.shared.settings import Settings
from tests.support.clients.http_bytes import connected
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import WAIT_SECONDS, create, running


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


async def test_a_request_that_came_before_the_answer_to_the_last_one_waits_a_while(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are answered meanwhile; the connection is closed as any other when the process stops."""
    monkeypatch.setattr("relaykit.api.http.uvicorn_protocol.PIPELINE_PAUSE_SECONDS", 3_600)
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        connected(system.urls[0], request * 2) as at_once,
    ):
        assert (await at_once.answer()).status == 200
        for _ in range(20):
            async with connected(system.urls[0], request) as other:
                assert (await other.answer()).status == 200
                await other.send(request)
                assert (await other.answer()).status == 200
        assert at_once.reader._buffer == b""  # type: ignore[attr-defined]
