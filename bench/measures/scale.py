"""More processes: 1, 2 and 4 APIs under the feeder, 1, 2 and 4 workers under answers that go as fast as they can.

What a machine with few cores can show is that the cost of an event does not grow with the processes. Events/s grow
with them only as long as there are cores, which the load client, Redis and PostgreSQL want as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from bench.load.clients import load, posts
from bench.load.jobs import Job
from bench.load.paced_clients import Window, as_point, fed, told
from bench.load.rate_search import Step, best, search_rate
from bench.measures import Scale
from bench.output.results import Measure
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import groups, measured

MAX_P99 = 20.0
START, TOP = 5_000.0, 80_000.0
RUNS = 40


def measure(scale: Scale) -> list[Measure]:
    counts = scale.of((1, 2), (1, 2, 4))
    with stack() as services:
        services.api()
        workers = _workers(services, counts, scale)  # while there is one API
        return [*_apis(services, counts, scale), *workers]


def _apis(services: Stack, counts: tuple[int, ...], scale: Scale) -> list[Measure]:
    clients, window = scale.of(100, 1_000), Window(*scale.of((0.3, 1.0), (0.7, 2.0)))
    top, tries, refinements = scale.of((START, 1, 0), (TOP, 2, 1))
    found: dict[int, Step | None] = {}
    for count in counts:
        with services.starting():
            while len(services.apis) < count:
                services.api()
        with fed(services, services.apis, clients, window) as driven:
            steps = search_rate(
                driven.step, START, top, max_p99=MAX_P99, refinements=refinements, tries=tries
            )
        found[count] = best(steps, MAX_P99)
    one = found[1]
    return [
        Measure(
            measure=f"scale.apis_{count}",
            value=step.delivered if step else 0.0,
            unit="events/s",
            baseline=one.delivered if one and count > 1 else None,
            against="1 API process",
            p50=step.p50 if step else None,
            p99=step.p99 if step else None,
            note=f"held with p99 under {MAX_P99:g} ms, {clients} clients, {_cores()}. "
            + (told(step) if step else "none was held"),
            points=[as_point(step, f"{count} APIs", clients)] if step else (),
        )
        for count, step in found.items()
    ]


@dataclass(frozen=True, slots=True)
class Worked:
    """Answers of RUNS runs at once."""

    per_second: float
    cpu_us: dict[str, float]
    """For each event."""
    client_share: float


def _workers(services: Stack, counts: tuple[int, ...], scale: Scale) -> list[Measure]:
    found: dict[int, Worked] = {}
    for count in counts:
        with services.starting():
            # no worker can take the runs of another
            workers = [services.worker(MAX_RUNS=str(RUNS // count)) for _ in range(count)]
        found[count] = _worked(services, services.apis[0], workers, scale.of(500, 5_000))
        for worker in workers:
            worker.kill()
    return [
        Measure(
            measure=f"scale.workers_{count}",
            value=worked.per_second,
            unit="events/s",
            baseline=found[1].per_second if count > 1 else None,
            against="1 worker process",
            note=f"{RUNS} runs as fast as they go, through the whole stack, {_cores()}. CPU per event, us: "
            + ", ".join(f"{name} {used:.0f}" for name, used in worked.cpu_us.items())
            + f"; load client {worked.client_share:.0%} of a core",
        )
        for count, worked in found.items()
    ]


def _worked(services: Stack, api: Process, workers: list[Process], deltas: int) -> Worked:
    requests = posts(api.url, Script(deltas=deltas, parts=2), RUNS, services)
    pids = {**groups(services, api=api), "workers": [worker.pid for worker in workers]}
    with measured(pids) as usage:
        seen = load(Job(requests, at_once=RUNS))
    if seen.deltas != RUNS * deltas:
        raise RuntimeError(f"{seen.deltas} deltas of {RUNS * deltas} came")
    cpu_us = {name: used / seen.deltas * 1e6 for name, used in usage.cpu_seconds.items()}
    return Worked(seen.deltas / seen.seconds, cpu_us, seen.cpu_share)


def _cores() -> str:
    return f"{os.cpu_count()} cores for all processes"
