"""One worker's publisher: events a second, and CPU of the worker for each, against one command to Redis per event."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, spread
from bench.systems.publishing import Job, Published, Way
from bench.systems.stack import ROOT, Stack, stack

RUNS = 50
PACE = 5_000.0
RATE_GOAL = Goal(Of.VALUE, at_least=100_000)
FAST: Sequence[tuple[Way, int, int]] = (
    ("publisher", 1, 20_000),
    ("publisher", 2, 5_000),
    ("xadd", 1, 1_000),
    ("xadd_publish", 1, 1_000),
)
"""Way, parts, and events of each run."""
PACED: Sequence[tuple[Way, int]] = (
    ("publisher", 1),
    ("publisher", 2),
    ("xadd", 1),
    ("xadd_publish", 1),
    ("nothing", 1),
)

Found = dict[tuple[Way, int], list[Published]]
"""By way and parts."""


def measure(scale: Scale) -> list[Measure]:
    rounds, seconds = scale.of(1, 5), scale.of(1.0, 4.0)
    fast: Found = {}
    paced: Found = {}
    with stack() as services, publishing(services) as publish:
        for _ in range(rounds):
            for way, parts, full in FAST:
                job = Job(way=way, runs=RUNS, events=scale.of(full // 5, full), parts=parts)
                fast.setdefault((way, parts), []).append(publish(job))
            for way, parts in PACED:
                events = int(PACE * seconds / RUNS)
                job = Job(way=way, runs=RUNS, events=events, parts=parts, per_second=PACE)
                paced.setdefault((way, parts), []).append(publish(job))
    return [
        _rate("publisher.events_merged", fast, 1, RATE_GOAL),
        _rate("publisher.events_not_merged", fast, 2, None),
        _cpu("publisher.cpu_per_event", paced, 1),
        _cpu("publisher.cpu_per_event_not_merged", paced, 2),
    ]


@contextmanager
def publishing(services: Stack) -> Iterator[Callable[[Job], Published]]:
    """Does jobs one after the other in a process of its own, with the settings of the stack's workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.systems.publishing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=services.environ,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def publish(job: Job) -> Published:
        stdin.write(json.dumps(asdict(job)) + "\n")
        stdin.flush()
        return Published(**json.loads(stdout.readline()))

    try:
        yield publish
    finally:
        process.kill()
        process.wait()


def _rate(name: str, found: Found, parts: int, goal: Goal | None) -> Measure:
    ours, both = _rates(found["publisher", parts]), _rates(found["xadd_publish", 1])
    merged = statistics.median(one.events / one.entries for one in found["publisher", parts])
    return Measure(
        measure=name,
        value=statistics.median(ours),
        unit="events/s",
        baseline=statistics.median(_rates(found["xadd", 1])),
        against="await XADD for each",
        goal=goal,
        spread=spread(ours),
        note=f"{RUNS} runs, as fast as they go; {merged:.1f} events an entry; "
        f"await XADD and PUBLISH for each {statistics.median(both):,.0f}",
    )


def _cpu(name: str, found: Found, parts: int) -> Measure:
    ours, both = _cpu_us(found["publisher", parts]), _cpu_us(found["xadd_publish", 1])
    pace = statistics.median(_cpu_us(found["nothing", 1]))
    return Measure(
        measure=name,
        value=statistics.median(ours),
        unit="us/event",
        baseline=statistics.median(_cpu_us(found["xadd", 1])),
        against="await XADD for each",
        spread=spread(ours),
        note=f"of the worker's process, {PACE:,.0f} events/s of {RUNS} runs; {pace:.0f} of it to keep the pace; "
        f"await XADD and PUBLISH for each {statistics.median(both):.0f}",
    )


def _rates(found: list[Published]) -> list[float]:
    return [one.events / one.seconds for one in found]


def _cpu_us(found: list[Published]) -> list[float]:
    return [one.cpu_seconds / one.events * 1e6 for one in found]
