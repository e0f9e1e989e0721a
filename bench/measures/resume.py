"""Coming back: to one of 500 live runs, to a long journal, and all clients at once.

The in-process server has nothing of the kind: who drops there has lost the answer. So these stand alone, but for the
memory after the storms, whose baseline is the memory before them.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench.journal_feeder.client import feeding
from bench.journal_feeder.journal import delta_cursor
from bench.load.clients import follows, load, loading
from bench.load.counting import counting
from bench.load.jobs import Job, Seen
from bench.load.paced_clients import load_clients
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import peak_resident, resident_bytes

LIVE_RUNS = 500
PER_RUN_PER_SECOND = 5.0
MISSED = 5
"""Deltas that a client which comes back has not had."""
REPLAYED = 10_000
PER_APPEND = 100
SETTLE_SECONDS = 2.0
RETRY_SECONDS = 1.0
"""After which a client of the storm that was refused comes again."""
MEMORY_GOAL = Goal(Of.RATIO, at_most=1.2)


def measure(scale: Scale) -> list[Measure]:
    with stack() as services:
        api = services.api()
        return [
            *_reconnect(services, api, scale.of(100, LIVE_RUNS), scale.of(50, 500)),
            _replay(services, api, scale.of(5, 50)),
            *_storms(services, api, scale.of(300, 3_000), scale.of(1, 3), scale.of(3.0, 20.0)),
        ]


def _reconnect(services: Stack, api: Process, runs: int, times: int) -> list[Measure]:
    """Clients that come back one after the other, MISSED deltas behind, while all runs have a client that is served."""
    with feeding(services, runs) as feeder, counting(follows(api.url, feeder.run_ids, services), 1.0):
        rate = runs * PER_RUN_PER_SECOND
        feeder.rate(rate)
        time.sleep(SETTLE_SECONDS)
        reached = feeder.rate(rate).deltas // runs
        back = follows(api.url, feeder.run_ids, services, delta_cursor(reached - MISSED))
        job = Job([back[number % runs] for number in range(times)], until_first_delta=True)
        seen = load(job)
    note = (
        f"{times} clients, one after the other, with {runs} runs live at {PER_RUN_PER_SECOND:g} deltas/s each"
    )
    return [
        _times("reconnect_first_byte", seen.first_byte, f"{note}; busy {seen.cpu_share:.0%} of a core"),
        _times("reconnect_caught_up", seen.first_delta, f"{note}; to the first of what was missed"),
    ]


def _replay(services: Stack, api: Process, times: int) -> Measure:
    with feeding(services, 1) as feeder:
        feeder.burst(REPLAYED, PER_APPEND)
        feeder.end()
        seen = load(Job(follows(api.url, feeder.run_ids * times, services)))
    if seen.deltas != REPLAYED * times:
        raise RuntimeError(f"{seen.deltas} deltas of {REPLAYED * times} came")
    note = f"from the request to the end, {times} times; load client {seen.cpu_share:.0%} of a core"
    return _times(f"replay_{REPLAYED}_entries", seen.whole, note)


@dataclass(frozen=True, slots=True)
class Storm:
    """All clients cut at once, and back at once."""

    seen: Seen
    before_bytes: int
    after_bytes: int
    peak_bytes: int
    """Memory of the API with all connected, before and after, and the most in between."""


def _storms(services: Stack, api: Process, clients: int, times: int, seconds: float) -> list[Measure]:
    storms = [_storm(services, api, clients, seconds) for _ in range(times)]
    back = [value for storm in storms for value in storm.seen.back]
    peak = max(storm.peak_bytes for storm in storms)
    busiest = max(storm.seen.cpu_share for storm in storms)
    refused = sum(storm.seen.retried for storm in storms)
    note = (
        f"{times} times {clients} clients, {MISSED} deltas behind; {refused} were refused at first and came again; "
        f"load client {busiest:.0%} of a core"
    )
    return [
        _times("storm_first_byte", [value for storm in storms for value in storm.seen.first_byte], note),
        _times(f"storm_{clients}_clients_caught_up", back, f"since the first of them came back. {note}"),
        Measure(
            measure=f"resume.storm_{clients}_clients_all_back",
            value=max(max(storm.seen.back) for storm in storms),
            unit="ms",
            note=f"until the last one was caught up. {note}",
        ),
        Measure(
            measure=f"resume.storm_{clients}_clients_memory",
            value=storms[-1].after_bytes / 1e6,
            unit="MB",
            baseline=storms[0].before_bytes / 1e6,
            against="before the first storm",
            goal=MEMORY_GOAL,
            note=f"of the API with all its clients, after {times} storms; {peak / 1e6:.0f} at most in between",
        ),
    ]


def _storm(services: Stack, api: Process, clients: int, seconds: float) -> Storm:
    """Each run makes a delta a second."""
    with feeding(services, clients) as feeder, ExitStack() as first:
        requests = follows(api.url, feeder.run_ids, services)
        first.enter_context(counting(requests, 1.0, clients=load_clients(clients)))
        feeder.rate(clients)
        time.sleep(MISSED + SETTLE_SECONDS)
        before = resident_bytes(api.pid)
        reached = feeder.rate(clients).deltas // clients
        job = Job(
            follows(api.url, feeder.run_ids, services, delta_cursor(reached - MISSED)),
            at_once=clients,
            opens_at_once=clients,
            seconds=seconds,
            retry_seconds=RETRY_SECONDS,
        )
        with peak_resident(api.pid) as peak, loading(job) as finish:
            first.close()  # the old streams are cut while the new client starts
            time.sleep(seconds * 0.9)
            after = resident_bytes(api.pid)
            seen = finish()
    if len(seen.back) != clients:
        raise RuntimeError(f"{len(seen.back)} clients of {clients} were back after {seconds:g} s")
    return Storm(seen, before, after, peak())


def _times(name: str, values: list[float], note: str) -> Measure:
    p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
    return Measure(measure=f"resume.{name}", value=p50, unit="ms", p50=p50, p99=p99, note=note)
