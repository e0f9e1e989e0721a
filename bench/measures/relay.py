"""The relay: events/s through one API process against their lateness, each client following a run of its own.

The journals come from the feeder, so that no agent is measured. Beside it the in-process server with as many clients at
the same paces, and a relay with a blocked XREAD for each client. A rate is held while 97% of it arrives and the 99th
percentile of how late it is stays under 20 ms.
"""

from __future__ import annotations

import statistics
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from bench.load.paced_clients import PacedClients, Window, as_point, fed, in_process, told
from bench.load.rate_search import Step, best, search_rate
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, spread
from bench.systems.stack import Process, Stack, stack

MAX_P99 = 20.0
START, TOP = 5_000.0, 160_000.0
GOAL_CLIENTS = 3_000
GOAL = Goal(Of.RATIO, at_least=3)
IN_PROCESS, XREAD = "in-process", "a blocked XREAD a client"


@dataclass
class Climbed:
    """What one system came to, over the rounds."""

    system: str
    clients: int
    steps: list[Step] = field(default_factory=list)
    held: list[Step] = field(default_factory=list)
    """The best step of each round that held any."""
    rounds: int = 0

    def take(self, steps: list[Step]) -> None:
        self.rounds += 1
        self.steps += steps
        if (found := best(steps, MAX_P99)) is not None:
            self.held.append(found)

    @property
    def rates(self) -> list[float]:
        return [step.delivered for step in self.held] + [0.0] * (self.rounds - len(self.held))

    @property
    def rate(self) -> float:
        """The median of the rounds; 0 for a round that held nothing."""
        return statistics.median(self.rates)

    @property
    def typical(self) -> Step | None:
        """The best step of the round in the middle; None where no round held any."""
        ordered = sorted(self.held, key=lambda step: step.delivered)
        return ordered[(len(ordered) - 1) // 2] if ordered else None


def measure(scale: Scale) -> list[Measure]:
    window = Window(*scale.of((0.3, 1.0), (0.7, 2.0)))
    found = []
    with stack() as services:
        with services.starting():
            api, base = services.api(), services.in_process()
        for clients in scale.of((200,), (100, 1_000, GOAL_CLIENTS)):
            rounds = scale.of(1, 2 if clients == GOAL_CLIENTS else 1)
            found += _at(services, api, base, clients, window, rounds, scale)
    return found


def _at(
    services: Stack, api: Process, base: Process, clients: int, window: Window, rounds: int, scale: Scale
) -> list[Measure]:
    ours, plain, xread = (Climbed(system, clients) for system in ("relaykit", IN_PROCESS, XREAD))
    for _ in range(rounds):
        _climb(fed(services, [api], clients, window), ours, scale)
        _climb(in_process(services, base, clients, window), plain, scale)
    blocked = services.start("bench.baselines.blocked_xread", {}, serves=True)
    _climb(fed(services, [blocked], clients, window), xread, scale)
    blocked.kill()  # its clients' connections have no end of their own
    points = [as_point(step, each.system, clients) for each in (ours, plain, xread) for step in each.steps]
    measures = [_held(ours, plain, goal=GOAL if clients == GOAL_CLIENTS else None, points=points)]
    measures.append(_held(ours, xread, suffix="_to_xread"))
    if (typical := ours.typical) and (other := plain.typical):
        measures.append(
            Measure(
                measure=f"relay.cpu_{clients}_clients",
                value=typical.cpu_us["server"],
                unit="us/event",
                baseline=other.cpu_us["server"],
                against=IN_PROCESS,
                note=f"of the API process, at the rate held. {told(typical)}",
            )
        )
    return measures


def _climb(system: AbstractContextManager[PacedClients], climbed: Climbed, scale: Scale) -> None:
    with system as driven:
        top, refinements, tries = scale.of(
            (2 * START, 0, 1), (TOP, 2 if climbed.clients == GOAL_CLIENTS else 1, 2)
        )
        climbed.take(
            search_rate(driven.step, START, top, max_p99=MAX_P99, refinements=refinements, tries=tries)
        )


def _held(
    ours: Climbed,
    other: Climbed,
    *,
    suffix: str = "",
    goal: Goal | None = None,
    points: list[dict[str, float | str]] | None = None,
) -> Measure:
    typical = ours.typical
    return Measure(
        measure=f"relay.held_{ours.clients}_clients{suffix}",
        value=ours.rate,
        unit="events/s",
        baseline=other.rate,
        against=other.system,
        goal=goal,
        p50=typical.p50 if typical else None,
        p99=typical.p99 if typical else None,
        spread=spread(ours.rates),
        note=f"highest rate with p99 under {MAX_P99:g} ms; p50 and p99 are ms. "
        + (told(typical) if typical else "none was held"),
        points=points or (),
    )
