"""How many runs of one pace a system holds side by side, through everything from POST to client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.load.clients import loading
from bench.load.targets import System
from bench.output.results import percentile
from bench.systems.server import Script

MIN_SHARE = 0.97
"""Of what is made: less is falling behind."""


@dataclass(frozen=True, slots=True)
class Held:
    """What so many runs came to, from when all of them had begun."""

    runs: int
    share: float
    """Of the deltas that were to come."""
    p50: float
    p99: float
    """How late they came, ms."""
    client_share: float
    """Of a core, of the load client."""

    def within(self, max_p99: float) -> bool:
        return self.share >= MIN_SHARE and self.p99 <= max_p99

    def __str__(self) -> str:
        return f"{self.runs}: {self.share:.0%} in time, p99 {self.p99:.0f} ms"


def held(system: System, runs: int, per_second: float, seconds: float) -> Held:
    """So many runs, and then none."""
    deltas = int(per_second * (runs / system.opens_per_second + 1 + seconds))
    script = Script(deltas=deltas, per_second=per_second)
    with loading(system.job(script, runs, hold=True, seconds=seconds)) as finish:
        seen = finish()
    system.rest()
    late = seen.late or [float("inf")]
    return Held(
        runs,
        seen.deltas / (runs * per_second * seen.seconds),
        percentile(late, 0.5),
        percentile(late, 0.99),
        seen.cpu_share,
    )


def most(
    system: System, steps: Sequence[int], per_second: float, seconds: float, max_p99: float
) -> tuple[Held | None, list[Held]]:
    """The most runs that are held, and every step that was taken. A step that is not is tried once more."""
    best, taken = None, []
    for runs in steps:
        for _ in range(2):
            taken.append(held(system, runs, per_second, seconds))
            if taken[-1].within(max_p99):
                best = taken[-1]
                break
        else:
            break
    return best, taken
