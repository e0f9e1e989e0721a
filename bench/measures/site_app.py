"""What the site's own application (CHATKIT_APP) costs Relaykit: an API that has one beside one that has none, by turns.

Then twenty runs of 50 deltas/s while a route of the application blocks its loop, beside the same runs alone.
"""

from __future__ import annotations

import statistics
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load.clients import load, posts
from bench.load.jobs import Job, Seen
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.systems.server import Script
from bench.systems.site_app import BLOCKED_SECONDS
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import measured

APP = "bench.systems.site_app:app"
GOAL = Goal(Of.RATIO, at_most=1.1)
RUNS = 20
PER_SECOND = 50
WITHOUT = "without CHATKIT_APP"


def measure(scale: Scale) -> list[Measure]:
    rounds, count, deltas = scale.of((2, 20, 100), (8, 100, 300))
    script = Script(deltas=deltas, per_second=PER_SECOND)
    with stack() as services:
        with services.starting():
            plain, extended, _ = services.api(), services.api(CHATKIT_APP=APP), services.worker()
        sides = [plain, extended]
        first_events: list[list[float]] = [[], []]
        cpu: list[list[float]] = [[], []]
        late: list[list[float]] = [[], []]
        for api in sides:
            _first_events(services, api, 20)  # what a process does for the first time
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                first_events[side].append(statistics.median(_first_events(services, sides[side], count)))
                cpu[side].append(_cpu_us(services, sides[side], script))
        for number in range(scale.of(1, 4)):
            for blocked in (0, 1) if number % 2 else (1, 0):
                late[blocked] += _late(services, extended, script, blocks=bool(blocked))
    return [
        _ratio("first_event", "ms", first_events, f"{count} posts a round, one at a time"),
        _ratio("cpu_per_delta", "us", cpu, f"of the API, {RUNS} runs of {PER_SECOND} deltas/s"),
        Measure(
            measure="site_app.lag_beside_a_blocking_route",
            value=percentile(late[1], 0.99),
            unit="ms",
            baseline=percentile(late[0], 0.99),
            against="the same runs alone",
            p50=percentile(late[1], 0.5),
            p99=percentile(late[1], 0.99),
            note=f"{RUNS} runs while a route does time.sleep({BLOCKED_SECONDS:g}) again and again; the latest delta "
            f"{max(late[1]):.0f} ms, alone {max(late[0]):.0f}",
        ),
    ]


def _ratio(what: str, unit: str, found: list[list[float]], note: str) -> Measure:
    """The goal is for the rounds' median: two neighbours have the same machine."""
    of_rounds = statistics.median(b / a for a, b in zip(*found, strict=True))
    return Measure(
        measure=f"site_app.{what}",
        value=statistics.median(found[1]),
        unit=unit,
        baseline=statistics.median(found[0]),
        against=WITHOUT,
        goal=GOAL,
        spread=spread(found[1]),
        note=f"{note}; the median of the rounds' ratios is {of_rounds:.3f}",
    )


def _first_events(services: Stack, api: Process, count: int) -> list[float]:
    return load(Job(posts(api.url, Script(), count, services))).first_event


def _cpu_us(services: Stack, api: Process, script: Script) -> float:
    with measured({"api": [api.pid]}) as usage:
        seen = _runs(services, api, script)
    return 1e6 * usage.total / seen.deltas


def _late(services: Stack, api: Process, script: Script, *, blocks: bool) -> list[float]:
    if not blocks:
        return _runs(services, api, script).late
    with _blocked(api):
        return _runs(services, api, script).late


def _runs(services: Stack, api: Process, script: Script) -> Seen:
    return load(Job(posts(api.url, script, RUNS, services), at_once=RUNS))


@contextmanager
def _blocked(api: Process) -> Iterator[None]:
    """The route is called until the block ends."""
    is_over = threading.Event()
    begun = threading.Event()

    def call() -> None:
        while not is_over.is_set():
            begun.set()
            with urllib.request.urlopen(f"{api.url}/blocks", timeout=60) as response:
                response.read()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        begun.wait()
        yield
    finally:
        is_over.set()
        caller.join()
