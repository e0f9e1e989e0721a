"""Connected clients that are sent nothing: memory and Redis connections of one API process, its CPU, and the time to connect.

Each client follows a run of its own, one that is running and quiet: the dearest case, for clients of one run share what
is kept of it. Beside it as many answers of the in-process server that have begun and wait. Ours come back with a GET,
the baseline's have to POST, which is all it offers.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import redis

from bench.clients import follows, posts
from bench.counting import counting
from bench.driven import set_pace
from bench.feeding import feeding
from bench.load import Request
from bench.measures import Scale
from bench.results import Goal, Measure, Of
from bench.server import Script
from bench.stack import Process, Stack, stack
from bench.usage import cpu_seconds, resident_bytes

WARM_CLIENTS = 200
LOAD_CLIENTS = 2
OTHER_FILES = 1_000
"""Of a process, beside its clients' sockets."""
SETTLE_SECONDS = 1.0
MEMORY_GOAL = Goal(Of.VALUE, at_most=10)
CONNECTIONS_GOAL = Goal(Of.VALUE, at_most=2)


@dataclass(frozen=True, slots=True)
class Idle:
    """Of one process with its clients."""

    kib_per_client: float
    cpu_share: float
    """Of a core, with all connected and nothing sent."""
    connect_seconds: float


def measure(scale: Scale) -> list[Measure]:
    clients = min(scale.of(1_000, 10_000), resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES)
    idle_seconds = scale.of(2.0, 20.0)
    with stack() as services:
        api, base = services.api(), services.in_process()
        set_pace(base, 0)
        with feeding(services, clients) as feeder:
            requests = follows(api.url, feeder.run_ids, services)
            _warm(requests)
            with redis.Redis.from_url(services.services.redis_url) as client:
                before = _connections(client)
                with_none = _of_api(client, api)
                ours, added = _idle(api, requests, idle_seconds, client)
        theirs, _ = _idle(base, _warm(posts(base.url, Script(paced=True), clients)), idle_seconds)
    return _measures(clients, ours, theirs, with_none, with_none + added - before)


def _measures(clients: int, ours: Idle, theirs: Idle, connections_before: int, connections: int) -> list[Measure]:
    raise NotImplementedError
