"""How many runs of one pace a system holds side by side, through everything from POST to client."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from bench.clients import loading, posts
from bench.load import Job
from bench.results import percentile
from bench.server import Script
from bench.stack import Stack

MIN_SHARE = 0.97
"""Of what is made: less is falling behind."""
OPENS_PER_SECOND = 30.0
"""Of runs, at the least: so long each goes on before it is counted."""
END_SECONDS = 60.0
UNENDED = "SELECT count(*) FROM runs WHERE status IN ('waiting', 'queued', 'running')"


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


def held(url: str, runs: int, per_second: float, seconds: float, stack: Stack | None = None) -> Held:
    """So many runs at an API of the stack, or at the in-process baseline where there is none."""
    deltas = int(per_second * (runs / OPENS_PER_SECOND + 1 + seconds))
    requests = posts(url, Script(deltas=deltas, per_second=per_second), runs, stack)
    with loading(Job(requests, at_once=runs, hold=True, seconds=seconds)) as finish:
        seen = finish()
    if stack is not None:
        _ended(stack)
    late = seen.late or [float("inf")]
    return Held(
        runs,
        seen.deltas / (runs * per_second * seen.seconds),
        percentile(late, 0.5),
        percentile(late, 0.99),
        seen.cpu_share,
    )


def most(
    url: str,
    steps: Sequence[int],
    per_second: float,
    seconds: float,
    max_p99: float,
    stack: Stack | None = None,
) -> tuple[Held | None, list[Held]]:
    """The most runs that are held, and every step that was taken. A step that is not is tried once more."""
    best, taken = None, []
    for runs in steps:
        for _ in range(2):
            taken.append(held(url, runs, per_second, seconds, stack))
            if taken[-1].within(max_p99):
                best = taken[-1]
                break
        else:
            break
    return best, taken


def _ended(stack: Stack) -> None:
    """Waits until no run is left: the clients have gone, the runs go on."""
    deadline = time.monotonic() + END_SECONDS
    with psycopg.connect(stack.services.database_url, autocommit=True) as database:
        while time.monotonic() < deadline:
            row = database.execute(UNENDED).fetchone()
            if row is None or row[0] == 0:
                return
            time.sleep(0.1)
    raise RuntimeError(f"runs that have not ended after {END_SECONDS:.0f} s")
