"""What was measured in one phase of a siege, and whether it is what an attack may cost. Pure."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from tests.chaos.record import Loss
from tests.siege.attack import MEMORY, REDIS_MB, SLOWER_MS, Attack
from tests.siege.order import Tally

OWN_ANSWERS = ("503 too_many_connections", "503 overloaded", "503 queue_full", "503 stopping")
"""What a server that defends itself may answer; any other 5xx is a failure."""

HELD_UP_SECONDS = 0.02
"""An event loop that wakes so late has been kept from its CPU."""


@dataclass
class Waits:
    """Times that clients waited, in ms."""

    ms: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(self.ms, default=0.0)

    @property
    def median(self) -> float:
        return statistics.median(self.ms) if self.ms else 0.0


@dataclass
class Memory:
    """Of one process or service, in MB."""

    before: float
    peak: float

    @property
    def times(self) -> float:
        return self.peak / self.before if self.before else 1.0

    @property
    def grown(self) -> float:
        return self.peak - self.before


@dataclass
class Phase:
    """One attack, or the time without one."""

    name: str
    seconds: float = 0.0
    tallies: dict[str, Tally] = field(default_factory=dict)
    """By attack."""
    health: Waits = field(default_factory=Waits)
    health_answers: Counter[str] = field(default_factory=Counter)
    delta: Waits = field(default_factory=Waits)
    first: Waits = field(default_factory=Waits)
    slowest: str = ""
    """What the client that waited longest for its first word did in that time."""
    probes: list[tuple[float, float]] = field(default_factory=list)
    """When `/healthz` was asked, and when it answered."""
    ticks: list[tuple[float, float]] = field(default_factory=list)
    """When the driver's own event loop was to wake, and when it did."""
    memory: dict[str, Memory] = field(default_factory=dict)
    """By the name of the process; `redis` is what Redis says of itself."""
    runs: int = 0
    """Of the clients that behave well."""
    losses: list[Loss] = field(default_factory=list)
    left_open: list[str] = field(default_factory=list)
    left_queued: list[str] = field(default_factory=list)

    def note(self, waits: Waits, began_at: float, ended_at: float, pace_ms: float = 0.0) -> None:
        """A wait beyond the pace of what was waited for, without the time in which the driver itself was held up.

        What comes in that time is read late, whatever the server does.
        """
        first = bisect_left(self.ticks, began_at, key=itemgetter(1))
        held_up = 0.0
        for due_at, woke_at in islice(self.ticks, first, None):
            if due_at >= ended_at:
                break
            if woke_at - due_at >= HELD_UP_SECONDS:
                held_up += min(woke_at, ended_at) - max(due_at, began_at)
        waits.ms.append(max(0.0, (ended_at - began_at - held_up) * 1000 - pace_ms))

    @property
    def driver(self) -> Waits:
        """How late the driver's own event loop was."""
        return Waits([(woke_at - due_at) * 1000 for due_at, woke_at in self.ticks])

    @property
    def sent(self) -> Tally:
        return sum(self.tallies.values(), Tally())


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Tolerances of a siege."""

    slower_ms: float = SLOWER_MS
    memory: float = MEMORY
    redis_mb: float = REDIS_MB


def failures(phase: Phase, baseline: Phase, attack: Attack, bounds: Bounds) -> list[str]:
    """Why an attack cost more than it may; nothing where it did not."""
    return [
        *_waits(phase, baseline, attack, bounds),
        *_memory(phase, bounds),
        *_answers(phase, attack),
        *(f"lost: {loss.check}: {loss.where}: {loss.why}" for loss in phase.losses[:3]),
        *(f"left open: {what}" for what in phase.left_open),
        *(f"left queued: {len(phase.left_queued)} ({phase.left_queued[0]})" for _ in phase.left_queued[:1]),
    ]


def _waits(phase: Phase, baseline: Phase, attack: Attack, bounds: Bounds) -> Iterator[str]:
    first_ms = max(attack.first_ms, bounds.slower_ms)
    kinds = [
        ("/healthz", phase.health, baseline.health, bounds.slower_ms),
        ("a delta", phase.delta, baseline.delta, bounds.slower_ms),
    ]
    if attack.descriptors is None:  # those who are answered 503 come again, and that is not what is measured
        kinds.append(("the first word", phase.first, baseline.first, first_ms))
    for name, waits, without, most in kinds:
        longer = waits.longest - without.median
        if longer > most:
            story = f" ({phase.slowest})" if waits is phase.first and phase.slowest else ""
            yield f"{name} +{longer:.0f} ms{story}"


def _memory(phase: Phase, bounds: Bounds) -> Iterator[str]:
    for name, memory in phase.memory.items():
        if name == "redis":
            if memory.grown > bounds.redis_mb:
                yield f"redis +{memory.grown:.0f} MB"
        elif memory.times > bounds.memory:
            yield f"{name} {memory.before:.0f} to {memory.peak:.0f} MB ({memory.times:.1f} times)"


def _answers(phase: Phase, attack: Attack) -> Iterator[str]:
    for part in attack.each:
        given = phase.tallies.get(part.name, Tally()).answers
        for expected in part.expects:
            if not any(answer.startswith(tuple(expected.split("|"))) for answer in given):
                yield f"{part.name}: never answered {expected}"
        for answer, count in sorted(given.items()):
            is_defect = answer.startswith("5") and answer not in OWN_ANSWERS
            if count and (is_defect or answer.startswith(part.forbids)):
                yield f"{part.name}: {answer} x{count}"
    for answer, count in sorted(phase.health_answers.items()):
        if answer != "200" and not (attack.descriptors is not None and answer == "503"):
            yield f"/healthz: {answer} x{count}"
