"""The clients that behave well: each asks, follows its answer, resumes when it is cut, and asks again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

from tests.chaos.chats import Chat
from tests.chaos.frames import Frame
from tests.chaos.record import Turn
from tests.chaos.script import Script
from tests.chaos.wire import Wire
from tests.integration.jwks_server import AUDIENCE, ISSUER, SigningKey

TENANT = "visitors"
TOKEN_SECONDS = 3600
PAUSE_MS = 50
TURNS = 5
"""Messages of one thread."""
STORY = 4
"""Requests of a client that a report tells of."""
UPDATED = b'{"type":"thread.item.updated"'


def token_for(issuer: SigningKey, user: str, tenant: str) -> str:
    now = int(time.time())
    return issuer.token(sub=user, tenant=tenant, iss=ISSUER, aud=AUDIENCE, iat=now, exp=now + TOKEN_SECONDS)


class VisitorWire(Wire):
    """With a token that outlasts the siege: what a client waits for is then the server alone."""

    def _headers(self) -> dict[str, str]:
        token = token_for(self._issuer, self._user, TENANT)
        return {"Authorization": f"Bearer {token}", "Relaykit-Resume": "1"}


@dataclass
class TimedTurn(Turn):
    """A message whose deltas are noted as they come in."""

    asked_at: float = field(default_factory=time.monotonic)
    client_began_at: float = 0.0
    """The zero of the times in `history`."""
    came_at: list[float] = field(default_factory=list)
    """When each delta came, over all connections."""

    def take(self, frame: Frame) -> None:
        if frame.data.startswith(UPDATED):
            self.came_at.append(time.monotonic())
        super().take(frame)

    @property
    def first_wait(self) -> list[tuple[float, float]]:
        """From the question to the first word, where it came."""
        return [(self.asked_at, came_at) for came_at in self.came_at[:1]]

    @property
    def further_waits(self) -> list[tuple[float, float]]:
        """From each delta to the next."""
        return list(pairwise(self.came_at))

    @property
    def story(self) -> str:
        """What the client did until the first word came, in seconds since it asked."""
        events = [f"asked at {self.asked_at - self.client_began_at:.2f}", *self.history[:STORY]]
        first = f"first word after {self.came_at[0] - self.asked_at:.2f} s" if self.came_at else "no word"
        return "; ".join([*events, first])


class Visitor(Chat):
    """One user, with one message after another until it is told to stop."""

    def __init__(self, name: str, deltas: int, wire: Wire, random: Random, stopping: asyncio.Event) -> None:
        super().__init__(0, wire, random, set(), stopping)
        self._name = name
        self._deltas = deltas
        self._slow = False

    async def talk(self) -> None:
        await asyncio.sleep(self._random.uniform(0, self._deltas * PAUSE_MS / 1000))
        while not self._stopping.is_set() and not any(turn.complaint for turn in self.turns):
            await self._converse()

    async def _converse(self) -> None:
        thread_id: str | None = None
        for _ in range(TURNS):
            if self._stopping.is_set():
                return
            turn = self._turn(thread_id)
            await self._follow(turn)
            thread_id = turn.thread_id
            if thread_id is None:
                return

    def _turn(self, thread_id: str | None) -> Turn:
        tag = f"{self._name}.{len(self.turns)}"
        script = Script(tag=tag, items=1, words=self._deltas, pause_ms=PAUSE_MS)
        turn = TimedTurn(script, f"key-{tag}", thread_id, client_began_at=self._began_at)
        self.turns.append(turn)
        return turn
