"""Runs of 50 deltas/s through the whole stack: CPU a delta by process, how late they come, and how many are held.

And 50 runs as fast as they go, which is what others publish.
"""

from __future__ import annotations

import statistics

from bench.load.clients import load, posts
from bench.load.jobs import Job, Seen
from bench.load.many_runs import most
from bench.load.targets import in_process, relaykit
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of, percentile, spread
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import Usage, groups, measured

RUNS = 20
PER_SECOND = 50
CPU_GOAL_US = 100.0
LATE_GOAL_MS = 100.0
HELD_GOAL = 200
STEPS = (50, 100, 150, 200, 300, 400, 600)
FAST_RUNS = 50


def measure(scale: Scale) -> list[Measure]:
    deltas, rounds = scale.of(150, 500), scale.of(1, 4)
    with stack() as services:
        with services.starting():
            api, worker, baseline = services.api(), services.worker(), services.in_process()
        _run(services, api, baseline, 50)
        found = [_run(services, api, baseline, deltas, worker) for _ in range(rounds)]
        others = [_fast(services, api, baseline, scale), *_most(services, api, baseline, scale)]
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
        *others,
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


def _fast(services: Stack, api: Process, baseline: Process, scale: Scale) -> Measure:
    script = Script(deltas=scale.of(200, 1_000))
    ours, theirs, client_share = [], [], 0.0
    for _ in range(scale.of(1, 3)):
        seen = load(Job(posts(api.url, script, FAST_RUNS, services), at_once=FAST_RUNS))
        other = load(Job(posts(baseline.url, script, FAST_RUNS), at_once=FAST_RUNS))
        ours.append(seen.deltas / seen.seconds)
        theirs.append(other.deltas / other.seconds)
        client_share = max(client_share, seen.cpu_share, other.cpu_share)
    return Measure(
        measure=f"whole_stack.deltas_of_{FAST_RUNS}_runs",
        value=statistics.median(ours),
        unit="deltas/s",
        baseline=statistics.median(theirs),
        against="in-process",
        spread=spread(ours),
        note=f"from the first POST to the last end, deltas that wait together are joined; "
        f"load client {client_share:.0%} of a core",
    )


def _most(services: Stack, api: Process, baseline: Process, scale: Scale) -> list[Measure]:
    """With one worker, then with two."""
    steps, seconds = scale.of(STEPS[:1], STEPS), scale.of(1.0, 3.0)
    other, _ = most(in_process(baseline), steps, PER_SECOND, seconds, LATE_GOAL_MS)
    measures = []
    for workers in scale.of((1,), (1, 2)):
        if workers == 2:
            services.worker()
        found, taken = most(relaykit(services, api), steps, PER_SECOND, seconds, LATE_GOAL_MS)
        measures.append(
            Measure(
                measure=f"whole_stack.runs_held_{workers}_worker{'s' * (workers > 1)}",
                value=found.runs if found else 0,
                unit="runs",
                baseline=other.runs if other else 0,
                against="in-process",
                goal=Goal(Of.VALUE, at_least=HELD_GOAL),
                p50=found.p50 if found else None,
                p99=found.p99 if found else None,
                note=f"of {PER_SECOND} deltas/s, p99 under {LATE_GOAL_MS:.0f} ms; {'; '.join(map(str, taken))}; "
                f"load client {max(one.client_share for one in taken):.0%} of a core",
                points=[{"workers": workers, "runs": one.runs, "p99": one.p99} for one in taken],
            )
        )
    return measures
