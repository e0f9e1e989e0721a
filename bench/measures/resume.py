"""Coming back: to one of 500 live runs, to a long journal, and all clients at once.

The in-process server has nothing of the kind: who drops there has lost the answer. So these stand alone, but for the
memory after the storm, whose baseline is the memory before it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.clients import follows, load
from bench.counting import counting
from bench.fed_journal import delta_cursor
from bench.feeding import FeederProcess, feeding
from bench.load import Job, Request, Seen
from bench.measures import Scale
from bench.results import Goal, Measure, Of, percentile
from bench.stack import Process, Stack, stack
from bench.usage import peak_resident, resident_bytes

LIVE_RUNS = 500
PER_RUN_PER_SECOND = 5.0
MISSED = 5
"""Deltas that a client which comes back has not had."""
REPLAYED = 10_000
STORM_PER_RUN_PER_SECOND = 1.0
SETTLE_SECONDS = 2.0
MEMORY_GOAL = Goal(Of.RATIO, at_most=1.1)


def measure(scale: Scale) -> list[Measure]:
    with stack() as services:
        api = services.api()
        return [
            *_reconnect(services, api, scale.of(100, LIVE_RUNS), scale.of(50, 500)),
            _replay(services, api, scale.of(5, 50)),
            *_storm(services, api, scale.of(300, 3_000), scale.of(1, 3)),
        ]


def _reconnect(services: Stack, api: Process, runs: int, times: int) -> list[Measure]:
    """Clients that come back one after the other, each MISSED deltas behind, while the others are served."""
    with feeding(services, runs) as feeder:
        requests = follows(api.url, feeder.run_ids, services)
        with counting(requests, 1.0) as counter:
            rate = runs * PER_RUN_PER_SECOND
            feeder.rate(rate)
            time.sleep(SETTLE_SECONDS)
            after = _reached(feeder, rate) - MISSED
            back = follows(api.url, feeder.run_ids, services, delta_cursor(max(1, after)))
            seen = load(Job([back[number % runs] for number in range(times)], seconds=0)) if False else None
            del seen, counter
    return []


def _replay(services: Stack, api: Process, times: int) -> Measure:
    raise NotImplementedError
