"""The rates of callers and tenants as one process counts them by itself, while Redis is away."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from relaykit.api.limits.request_gate import BURSTS_PER_MINUTE, Rates
from relaykit.shared.queue.fair_share import Flow

MAX_KEPT: Final = 20_000
"""Callers and tenants of whom a rate is kept. Beyond that the one that has asked for nothing longest is forgotten."""

ROUNDING_SECONDS: Final = 0.0005
"""A shorter wait is none: times are not exact."""


class LocalRates:
    """The generic cell rate algorithm, as in rate_limit.lua: a part of a minute's requests may come at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()
        """When the next request is due at the rate (its theoretical arrival time)."""

    def spend(self, flow: Flow, rates: Rates) -> tuple[float, float]:
        """Seconds that the caller and the tenant have to wait; a request that one of them refuses costs neither."""
        now = self._clock()
        asked = [
            (f"caller:{flow.caller}", rates.of_caller),
            (f"tenant:{flow.tenant}", rates.of_tenant),
        ]
        waits, dues = [], {}
        for name, per_minute in asked:
            if per_minute == 0:
                waits.append(0.0)
                continue
            interval = 60 / per_minute
            ahead = max(0.0, self._due.get(name, now) - now)
            wait = ahead + interval - max(1, per_minute // BURSTS_PER_MINUTE) * interval
            waits.append(wait if wait > ROUNDING_SECONDS else 0.0)
            dues[name] = now + ahead + interval
        if not any(waits):
            for name, due in dues.items():
                self._due[name] = due
                self._due.move_to_end(name)
            while len(self._due) > MAX_KEPT:
                self._due.popitem(last=False)
        return waits[0], waits[1]
