"""Runs of 50 deltas/s through the whole stack: CPU a delta, process by process, and how late they come."""

from __future__ import annotations

import statistics

from bench.clients import load, posts
from bench.load import Job, Seen
from bench.measures import Scale
from bench.results import Goal, Measure, Of, percentile, spread
from bench.server import Script
from bench.stack import Process, Stack, stack
from bench.usage import Usage, groups, measured

RUNS = 20
PER_SECOND = 50
CPU_GOAL_US = 100.0
LATE_GOAL_MS = 100.0


def measure(scale: Scale) -> list[Measure]:
    deltas, rounds = scale.of(150, 500), scale.of(1, 4)
    with stack() as services:
        api, worker, baseline = services.api(), services.worker(), services.in_process()
        _run(services, api, baseline, 50)
        found = [_run(services, api, baseline, deltas, worker) for _ in range(rounds)]
    ours, theirs = [one[0] for one in found], [one[1] for one in found]
    late = [value for one in found for value in one[2].late]
    total = [usage.total for usage in ours]
    by_process = {name: statistics.median(u.cpu_seconds[name] for u in ours) for name in ours[0].cpu_seconds}
    said = ", ".join(f"{name} {value:.0f}" for name, value in by_process.items())
    return [
        Measure(
            measure="whole_stack.cpu_per_delta",
            value=statistics.median(total),
            unit="us",
            baseline=statistics.median(usage.total for usage in theirs),
            against="in-process, with its PostgreSQL",
            goal=Goal(Of.VALUE, at_most=CPU_GOAL_US),
            spread=spread(total),
            note=said,
        ),
        Measure(
            measure="whole_stack.lag_of_20_runs",
            value=percentile(late, 0.99),
            unit="ms",
            goal=Goal(Of.VALUE, at_most=LATE_GOAL_MS),
            p50=percentile(late, 0.5),
            p99=percentile(late, 0.99),
            note="age of the oldest delta of each read",
        ),
    ]


def _run(
    services: Stack, api: Process, baseline: Process, deltas: int, worker: Process | None = None
) -> tuple[Usage, Usage, Seen]:
    """CPU seconds become us a delta."""
    script = Script(deltas=deltas, per_second=PER_SECOND)
    named = {"api": api, **({"worker": worker} if worker else {})}
    with measured(groups(services, **named)) as ours:
        seen = load(Job(posts(api.url, script, RUNS, services), at_once=RUNS))
    with measured(groups(services, in_process=baseline)) as theirs:
        other = load(Job(posts(baseline.url, script, RUNS), at_once=RUNS))
    for usage, of in ((ours, seen), (theirs, other)):
        usage.cpu_seconds.update({name: value / of.deltas * 1e6 for name, value in usage.cpu_seconds.items()})
    return ours, theirs, seen
