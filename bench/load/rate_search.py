"""The highest rate that is held: doubled until it is not, then found between the two. Pure, `attempt` aside."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

MIN_SHARE = 0.97
"""Of what is offered: less is falling behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of one offered rate. Rates are events/s, times ms."""

    offered: float
    delivered: float
    p50: float
    p99: float
    cpu_us: dict[str, float]
    """For each delivered event, by process."""
    client_share: float
    """Of a core, of the busiest load client."""

    def held(self, max_p99: float) -> bool:
        return self.delivered >= MIN_SHARE * self.offered and self.p99 <= max_p99


def search_rate(
    attempt: Callable[[float], Step],
    start: float,
    top: float,
    *,
    max_p99: float,
    refinements: int,
    tries: int,
) -> list[Step]:
    """Every step taken. One that is not held is tried again, `tries` in all: something else may have run there.

    Goes down where `start` is not held, but no further than to an eighth of it.
    """
    steps: list[Step] = []

    def holds(rate: float) -> bool:
        for _ in range(tries):
            steps.append(attempt(rate))
            if steps[-1].held(max_p99):
                return True
        return False

    held, rate = 0.0, start
    while rate <= top and holds(rate):
        held, rate = rate, rate * 2
    missed = rate
    while not held and rate > start / 8:
        missed, rate = rate, rate / 2
        held = rate if holds(rate) else 0.0
    for _ in range(refinements if held and missed <= top else 0):
        rate = math.sqrt(held * missed)
        if holds(rate):
            held = rate
        else:
            missed = rate
    return steps


def best(steps: list[Step], max_p99: float) -> Step | None:
    """The step with the highest rate that was held; None where none was."""
    return max((step for step in steps if step.held(max_p99)), key=lambda step: step.delivered, default=None)
