"""A client that does not give up: it posts with a key, resumes from its cursor, and loads the thread when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx2

from tests.support.clients.stream_clients import body, cursors
from tests.support.system import Caller, parse_frames

BACK_OFF_SECONDS = 0.1


@dataclass
class RetryingClient:
    """One message of one user, at one API after another. `read` holds what came over all connections that closed."""

    callers: Sequence[Caller]
    request: dict[str, Any]
    key: str
    read: bytes = b""
    run_id: str = ""
    told: bool = False
    """Whether it was told by 410 that the journal is lost."""
    refused: list[int] = field(default_factory=list)
    """Statuses of answers other than 200, 204 and 410."""
    nothing_left: bool = False
    """Whether a resume was answered with 204: the run has ended, and all of it has come."""
    incoming: bytes = b""
    """What came over the connection that is open."""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for _, event in parse_frames(self.read)]

    @property
    def ended(self) -> bool:
        return self.told or self.nothing_left or self.read.startswith(b": end ") or b"\n: end " in self.read

    async def follow(self) -> None:
        """Goes on until the end has come, or the client is told to load the thread."""
        callers = cycle(self.callers)
        while not self.ended:
            await self._connect(callers)

    async def _connect(self, callers: Iterator[Caller]) -> None:
        caller, self.incoming = next(callers), b""
        try:
            response = await caller.client.send(self._next(caller), stream=True)
            self.run_id = response.headers.get("x-run-id", self.run_id)
            if response.status_code == 410:
                self.told = True
            elif response.status_code not in (200, 204):
                self.refused.append(response.status_code)
                text = await response.aread()
                assert response.status_code >= 500, text  # only what is away comes back
                await asyncio.sleep(BACK_OFF_SECONDS)
            elif response.status_code == 204:
                self.nothing_left = True
            else:
                async for part in response.aiter_raw():
                    self.incoming += part
        except httpx2.TransportError:
            await asyncio.sleep(BACK_OFF_SECONDS)
        whole, self.incoming = self.incoming[: self.incoming.rfind(b"\n\n") + 2], b""
        if whole:
            self.read += body(whole)

    def _next(self, caller: Caller) -> httpx2.Request:
        if not self.run_id:
            headers = {**caller._headers, "Idempotency-Key": self.key}
            return caller.client.build_request("POST", "/chatkit", json=self.request, headers=headers)
        known = cursors(self.read)
        headers = {**caller._headers, **({"Last-Event-ID": known[-1]} if known else {})}
        return caller.client.build_request("GET", f"/runs/{self.run_id}/events", headers=headers)
