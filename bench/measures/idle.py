"""Connected clients that are sent nothing: memory, Redis connections and CPU of one API, and the time to connect.

Each client follows a run of its own, one that is running and quiet: the dearest case, for clients of one run share what
is kept of it. Beside it as many answers of the in-process server that have begun and wait. Ours come back with a GET,
the baseline's have to POST, which is all it offers.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.journal_feeder.client import feeding
from bench.load.clients import follows, posts
from bench.load.counting import counting
from bench.load.jobs import Request
from bench.load.paced_clients import set_pace
from bench.measures import Scale
from bench.output.results import Goal, Measure, Of
from bench.systems.server import Script
from bench.systems.stack import Process, stack
from bench.systems.usage import connections_to, measured, resident_bytes

WARM_CLIENTS = 200
LOAD_CLIENTS = 2
BASELINE_CLIENTS = 3_000
"""At most: its POSTs take several times as long, and what a client costs it does not depend on how many there are."""
OTHER_FILES = 1_000
"""Of a process, beside its clients' sockets."""
COUNT_SECONDS = 0.1
MEMORY_GOAL = Goal(Of.VALUE, at_most=10)
CONNECTIONS_GOAL = Goal(Of.VALUE, at_most=2)


@dataclass(frozen=True, slots=True)
class Idle:
    """Of one process with its clients."""

    kb_per_client: float
    """1,000 bytes."""
    cpu_share: float
    """Of a core, with all connected and nothing sent."""
    clients: int
    connect_seconds: float
    """Until all were."""
    redis_connections: int
    redis_connections_before: int
    """With no client."""
    client_share: float
    """Of a core, of the busiest load client while nothing was sent."""


def measure(scale: Scale) -> list[Measure]:
    clients = min(scale.of(300, 10_000), resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_FILES)
    seconds = scale.of(2.0, 30.0)
    with stack() as services:
        port = urlsplit(services.services.redis_url).port or 0
        with services.starting():
            api, base = services.api(), services.in_process()
        with feeding(services, WARM_CLIENTS + clients) as feeder:
            ours = _idle(api, follows(api.url, feeder.run_ids, services), seconds, port)
        set_pace(base, 0)
        fewer = min(clients, BASELINE_CLIENTS)
        theirs = _idle(base, posts(base.url, Script(paced=True), WARM_CLIENTS + fewer), seconds, port)
    return _measures(clients, ours, theirs)


def _idle(server: Process, requests: Sequence[Request], seconds: float, redis_port: int) -> Idle:
    """Clients that came and went before have made the process as large as it is without any."""
    with counting(requests[:WARM_CLIENTS], COUNT_SECONDS):
        pass
    connections, before = connections_to(server.pid, redis_port), resident_bytes(server.pid)
    with counting(requests[WARM_CLIENTS:], COUNT_SECONDS, clients=LOAD_CLIENTS) as counter:
        after = resident_bytes(server.pid)
        with measured({"server": [server.pid]}) as usage:
            time.sleep(seconds)
        seen = counter.count()
        return Idle(
            kb_per_client=(after - before) / (len(requests) - WARM_CLIENTS) / 1_000,
            cpu_share=usage.total / seconds,
            clients=len(requests) - WARM_CLIENTS,
            connect_seconds=seen.opened_seconds,
            redis_connections=connections_to(server.pid, redis_port),
            redis_connections_before=connections,
            client_share=seen.cpu_share,
        )


def _measures(clients: int, ours: Idle, theirs: Idle) -> list[Measure]:
    return [
        Measure(
            measure=f"idle.memory_{clients}_clients",
            value=ours.kb_per_client,
            unit="kB/client",
            baseline=theirs.kb_per_client,
            against="in-process",
            goal=MEMORY_GOAL,
            note="of the API process, over what it has without clients; each follows a run of its own. "
            f"In-process with {theirs.clients} clients",
        ),
        Measure(
            measure=f"idle.redis_connections_{clients}_clients",
            value=ours.redis_connections,
            unit="connections",
            goal=CONNECTIONS_GOAL,
            note=f"of the API process; {ours.redis_connections_before} without clients",
        ),
        Measure(
            measure=f"idle.cpu_{clients}_clients",
            value=ours.cpu_share * 100,
            unit="% of a core",
            baseline=theirs.cpu_share * 100,
            against="in-process",
            note=f"ours looks after quiet runs and sends a ping to each client every 15 s; the baseline, with "
            f"{theirs.clients} clients, does nothing. "
            f"Busiest load client {ours.client_share:.0%} of a core",
        ),
        Measure(
            measure=f"idle.connect_{clients}_clients",
            value=ours.connect_seconds * 1_000 / ours.clients,
            unit="ms/client",
            baseline=theirs.connect_seconds * 1_000 / theirs.clients,
            against="in-process, a POST each",
            note=f"until all are connected and have had their first byte, 100 at a time: {ours.connect_seconds:.1f} s; "
            f"in-process {theirs.connect_seconds:.1f} s for {theirs.clients}",
        ),
    ]
