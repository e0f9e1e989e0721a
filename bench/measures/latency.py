"""POST to first byte and to the first event of respond(): ours against in-process, by turns, on the same PostgreSQL.

Both sides begin with a new thread and its message; ours then goes over the queue and a worker.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from bench.load.clients import load, posts
from bench.load.jobs import Job, Seen
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack

GOAL = Goal(Of.RATIO, at_most=0.8)
WARM_POSTS = 20


@dataclass
class Times:
    """ms, round by round."""

    rounds: list[list[float]] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        return [value for values in self.rounds for value in values]

    @property
    def p50(self) -> float:
        return percentile(self.all, 0.5)

    @property
    def p99(self) -> float:
        return percentile(self.all, 0.99)

    @property
    def spread(self) -> float:
        """Of the rounds' medians."""
        return spread([statistics.median(values) for values in self.rounds])


@dataclass
class Side:
    """One system: its times, and how busy the load client was."""

    first_byte: Times = field(default_factory=Times)
    first_event: Times = field(default_factory=Times)
    client_share: float = 0

    def take(self, seen: Seen) -> None:
        self.first_byte.rounds.append(seen.first_byte)
        self.first_event.rounds.append(seen.first_event)
        self.client_share = max(self.client_share, seen.cpu_share)


def measure(scale: Scale) -> list[Measure]:
    measures = []
    with stack() as services:
        with services.starting():
            api, base, _ = services.api(), services.in_process(), services.worker()
        _round(services, api, base, WARM_POSTS, 4)
        for posters in (1, 10, 50):
            rounds, count = scale.of((2, max(20, 2 * posters)), (8, max(100, 4 * posters)))
            ours, theirs = Side(), Side()
            for _ in range(rounds):
                mine, other = _round(services, api, base, count, posters)
                ours.take(mine)
                theirs.take(other)
            measures += _measures(ours, theirs, posters)
    return measures


def _round(services: Stack, api: Process, base: Process, count: int, posters: int) -> tuple[Seen, Seen]:
    return (
        load(Job(posts(api.url, Script(), count, services), at_once=posters)),
        load(Job(posts(base.url, Script(), count), at_once=posters)),
    )


def _measures(ours: Side, theirs: Side, posters: int) -> list[Measure]:
    suffix = "" if posters == 1 else f"_{posters}_posters"
    found = []
    for what, mine, other in (
        ("first_event", ours.first_event, theirs.first_event),
        ("first_byte", ours.first_byte, theirs.first_byte),
    ):
        found.append(
            Measure(
                measure=f"latency.{what}{suffix}",
                value=mine.p50,
                unit="ms",
                baseline=other.p50,
                against="in-process",
                goal=GOAL if what == "first_event" and posters == 1 else None,
                p50=mine.p50,
                p99=mine.p99,
                spread=mine.spread,
                note=f"{len(mine.all)} posts each, {posters} at once. In-process: p99 {other.p99:.1f} ms, "
                f"spread {other.spread:.2f} ms. Busiest load client "
                f"{max(ours.client_share, theirs.client_share):.0%} of a core",
                points=[_point("relaykit", posters, mine), _point("in-process", posters, other)],
            )
        )
    return found


def _point(system: str, posters: int, times: Times) -> dict[str, float | str]:
    return {"system": system, "posters": posters, "p50": times.p50, "p99": times.p99}
