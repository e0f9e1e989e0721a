"""Redis' stand-in for what a caller and a tenant may ask in a minute. There is always room in the queue."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from typing import Final

from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.request_gate import (
    BURSTS_PER_MINUTE,
    GateDecision,
    QueueCapacity,
    QueueLimits,
    Rates,
    RequestGate,
)
from relaykit.shared.queue.fair_share import Flow

SETTINGS: Final = {"caller_requests_per_minute": 0, "caller_bytes_per_minute": 0}
"""What a chat in memory has unless a test says otherwise: a test may ask faster than a person."""


@dataclass
class Rate:
    """The generic cell rate algorithm by the loop's clock, as rate_limit.lua and spend.lua have it."""

    due_ms: dict[str, float] = field(default_factory=dict)
    """By its key, when the next one is due at that rate."""

    def look(self, key: str, per_minute: int, size: int = 1) -> tuple[float, float]:
        """How long to wait, in milliseconds, and when the next one is due if this one is let in."""
        interval, now = 60_000 / per_minute, self._now()
        at_once = max(1, per_minute // BURSTS_PER_MINUTE, size)
        ahead = max(0.0, self.due_ms.get(key, now) - now)
        # half a millisecond is nothing: times of this size are not exact
        return max(0.0, math.ceil(ahead + (size - at_once) * interval - 0.5)), now + ahead + size * interval

    def _now(self) -> float:
        return asyncio.get_running_loop().time() * 1000


class MemoryGate(RequestGate):
    """One process's."""

    def __init__(self) -> None:
        self._rate = Rate()

    async def enter(self, flow: Flow, rates: Rates, limits: QueueLimits) -> GateDecision:
        limited = {f"caller {flow.caller}": rates.of_caller, f"tenant {flow.tenant}": rates.of_tenant}
        looks = {
            key: self._rate.look(key, per_minute) if per_minute else (0.0, None)
            for key, per_minute in limited.items()
        }
        of_caller, of_tenant = (wait_ms for wait_ms, _ in looks.values())
        if not of_caller and not of_tenant:
            self._rate.due_ms.update({key: due for key, (_, due) in looks.items() if due is not None})
        return GateDecision(of_caller / 1000, of_tenant / 1000, QueueCapacity.FREE, "", time.monotonic())

    def give_back(self, *places: str) -> None:
        """No place was taken."""


class MemoryByteBudget(ByteBudget):
    def __init__(self, bytes_per_minute: int) -> None:
        self.bytes_per_minute = bytes_per_minute
        self._rate = Rate()

    async def spend(self, caller: str, size: int) -> float:
        wait_ms, due = self._rate.look(caller, self.bytes_per_minute, size)
        if not wait_ms:
            self._rate.due_ms[caller] = due
        return wait_ms / 1000
