"""One stream as fast as it goes, one client: through the whole stack, through the relay alone, and in-process.

The whole stack joins neighbouring deltas that wait together, as it would for a model that is faster than the wire; so
it is measured with deltas that can be joined and with deltas that cannot. From the POST to the end of the stream.
"""

from __future__ import annotations

import statistics
from typing import Literal

from bench.journal_feeder.client import feeding
from bench.load.clients import follows, load, posts
from bench.load.counting import counting
from bench.load.jobs import Job, Seen
from bench.measures import Scale
from bench.output.results import Measure, spread
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack

PER_APPEND = 100


def measure(scale: Scale) -> list[Measure]:
    deltas, rounds = scale.of((5_000, 2), (50_000, 5))
    with stack() as services:
        with services.starting():
            api, base, _ = services.api(), services.in_process(), services.worker()
        joined, joined_base = _whole(services, api, base, deltas, rounds, 1)
        apart, apart_base = _whole(services, api, base, deltas, rounds, 2)
        relayed = [_relayed(services, api, deltas) for _ in range(rounds)]
    baseline = statistics.median(joined_base)
    return [
        _measure(
            "whole_stack", joined, baseline, "API, queue and worker; deltas that wait together are joined"
        ),
        _measure(
            "whole_stack_unjoined", apart, statistics.median(apart_base), "no two neighbours can be joined"
        ),
        _measure(
            "relay",
            relayed,
            baseline,
            f"a feeder's journal, {PER_APPEND} entries an append, one delta each; until the end entry has come",
        ),
    ]


def _whole(
    services: Stack, api: Process, base: Process, deltas: int, rounds: int, parts: Literal[1, 2]
) -> tuple[list[float], list[float]]:
    """Events/s of ours and of the baseline, by turns."""
    script = Script(deltas=deltas, parts=parts)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_rate(load(Job(posts(api.url, script, 1, services))), deltas))
        theirs.append(_rate(load(Job(posts(base.url, script, 1))), deltas))
    return ours, theirs


def _rate(seen: Seen, deltas: int) -> float:
    """From the request to the end of the stream."""
    return _complete(seen, deltas) / seen.whole[0] * 1_000


def _relayed(services: Stack, api: Process, deltas: int) -> float:
    """From the first delta, for the client is there before it, to the end."""
    with feeding(services, 1) as feeder:
        requests = follows(api.url, feeder.run_ids, services)
        with counting(requests, 0) as counter:
            finish = counter.begin()
            feeder.burst(deltas, PER_APPEND)
            feeder.end()
            seen = finish()
    return _complete(seen, deltas) / (seen.whole[0] - seen.first_delta[0]) * 1_000


def _complete(seen: Seen, deltas: int) -> int:
    """How many came. Raises RuntimeError where one is missing."""
    if seen.deltas != deltas:
        raise RuntimeError(f"{seen.deltas} deltas of {deltas} came")
    return deltas


def _measure(name: str, ours: list[float], baseline: float, note: str) -> Measure:
    return Measure(
        measure=f"single.{name}",
        value=statistics.median(ours),
        unit="events/s",
        baseline=baseline,
        against="in-process",
        spread=spread(ours),
        note=note,
    )
