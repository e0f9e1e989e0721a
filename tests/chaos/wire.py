"""How a client reaches the APIs: any of them, each request with a token of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx2

from tests.integration.jwks_server import AUDIENCE, ISSUER, SigningKey

TOKEN_SECONDS = (3, 900)
"""Some end in mid-answer; the others outlast the run, so that no token's end saves a client that waits for nothing."""
SILENCE_SECONDS = 8.0
"""Without so much as a ping for so long, a client takes the connection for dead."""
BACKOFF_SECONDS = (0.1, 2.0)


def http_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(SILENCE_SECONDS),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
    )


class Wire:
    """One user's way to any of the APIs."""

    def __init__(
        self, client: httpx2.AsyncClient, urls: list[str], issuer: SigningKey, user: str, random: Random
    ) -> None:
        self._client = client
        self._urls = urls
        self._issuer = issuer
        self._user = user
        self._random = random
        self.defects: list[str] = []
        """Answers that say that the API did not know what happened to it: each a 500."""

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, headers: dict[str, str], body: Any = None
    ) -> AsyncIterator[httpx2.Response]:
        """One request to one of the APIs. Raises httpx2.TransportError."""
        content = None if body is None else json.dumps(body).encode()
        url = self._random.choice(self._urls) + path
        async with self._client.stream(
            method, url, content=content, headers={**self._headers(), **headers}
        ) as response:
            if response.status_code == 500:
                self.defects.append(f"{method} {path}: 500")
            yield response

    async def ask(
        self, method: str, path: str, body: Any = None, unanswered: list[str] | None = None
    ) -> httpx2.Response:
        """Asks until there is an answer that is not a 5xx, a 429 or a lost connection.

        `unanswered` gets what became of each try without one: an API may still do later what it was asked there.
        """
        for failures in range(1_000_000):
            try:
                async with self.stream(method, path, {}, body) as response:
                    await response.aread()
                if not passing(response.status_code):
                    return response
            except httpx2.TransportError as error:
                if unanswered is not None:
                    unanswered.append(type(error).__name__)
            await self.back_off(failures)
        raise AssertionError("never")

    async def back_off(self, failures: int) -> None:
        """Waits, longer after each failure, and never two clients the same time."""
        least, most = BACKOFF_SECONDS
        await asyncio.sleep(self._random.uniform(0, min(most, least * 2 ** min(failures, 10))))

    def _headers(self) -> dict[str, str]:
        seconds = self._random.choice(TOKEN_SECONDS)
        now = int(time.time())
        token = self._issuer.token(sub=self._user, iss=ISSUER, aud=AUDIENCE, iat=now, exp=now + seconds)
        return {"Authorization": f"Bearer {token}", "Relaykit-Resume": "1"}


def passing(status: int) -> bool:
    """Whether the same request may be answered otherwise a little later, with a fresh token."""
    return status >= 500 or status in (401, 429)
