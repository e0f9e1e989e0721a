"""Systems whose clients each follow an answer of their own, all of them at one pace that the benchmark sets."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.journal_feeder.client import feeding
from bench.load.clients import follows, posts
from bench.load.counting import Counter, counting
from bench.load.rate_search import Step
from bench.output.results import percentile
from bench.systems.server import Script
from bench.systems.stack import Process, Stack
from bench.systems.usage import groups, measured

PACE_TIMEOUT_SECONDS = 60.0
CLIENTS_OF_ONE_PROCESS = 500
"""Above, two load clients share the streams."""
REST_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Window:
    """How long a step is: what comes while it settles is not counted."""

    settle_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class PacedClients:
    """A system with all its clients connected."""

    set_rate: Callable[[float], object]
    """Deltas a second over all clients, from now on."""
    counter: Counter
    pids: Mapping[str, list[int]]
    window: Window

    def step(self, rate: float) -> Step:
        """What comes of one offered rate, from rest to rest."""
        self.set_rate(rate)
        time.sleep(self.window.settle_seconds)
        with measured(self.pids) as usage:
            seen = self.counter.count()
        self.set_rate(0)
        time.sleep(REST_SECONDS)
        late = seen.late or [float("inf")]
        return Step(
            offered=rate,
            delivered=seen.deltas / seen.seconds,
            p50=percentile(late, 0.5),
            p99=percentile(late, 0.99),
            cpu_us={name: used / max(1, seen.deltas) * 1e6 for name, used in usage.cpu_seconds.items()},
            client_share=seen.cpu_share,
        )


@contextmanager
def fed(stack: Stack, servers: Sequence[Process], clients: int, window: Window) -> Iterator[PacedClients]:
    """Relays of the feeder's journals, the clients spread over them: our API, or the baseline with the same paths."""
    with feeding(stack, clients) as feeder:
        requests = [
            request
            for number, server in enumerate(servers)
            for request in follows(server.url, feeder.run_ids[number :: len(servers)], stack)
        ]
        named = {f"server_{number}": server for number, server in enumerate(servers)}
        pids = groups(stack, **named) if len(servers) > 1 else groups(stack, server=servers[0])
        with counting(requests, window.seconds, clients=load_clients(clients)) as counter:
            yield PacedClients(feeder.rate, counter, {**pids, "feeder": [feeder.pid]}, window)


@contextmanager
def in_process(stack: Stack, server: Process, clients: int, window: Window) -> Iterator[PacedClients]:
    """Baseline (a): each client has posted, and its answer goes on without an end."""
    requests = posts(server.url, Script(paced=True), clients)
    set_pace(server, 0)
    with counting(requests, window.seconds, clients=load_clients(clients)) as counter:
        yield PacedClients(
            lambda rate: set_pace(server, rate / clients), counter, groups(stack, server=server), window
        )


def load_clients(clients: int) -> int:
    return 1 if clients <= CLIENTS_OF_ONE_PROCESS else 2


def set_pace(server: Process, per_second: float) -> None:
    """Of each answer of the baseline's process."""
    (given,) = posts(server.url, Script(set_pace=per_second), 1)
    request = urllib.request.Request(given.url, data=given.body.encode(), headers=given.headers)
    with urllib.request.urlopen(request, timeout=PACE_TIMEOUT_SECONDS) as response:
        response.read()


def told(step: Step) -> str:
    """What a note says of a step."""
    cpu = ", ".join(f"{name} {used:.0f}" for name, used in step.cpu_us.items() if used >= 0.5)
    return f"CPU per event, us: {cpu}; busiest load client {step.client_share:.0%} of a core"


def as_point(step: Step, system: str, clients: int) -> dict[str, float | str]:
    """For the plots."""
    cpu: dict[str, float | str] = {f"cpu_us_{name}": used for name, used in step.cpu_us.items()}
    return {
        "system": system,
        "clients": clients,
        "offered": step.offered,
        "delivered": step.delivered,
        "p50": step.p50,
        "p99": step.p99,
        "client_share": step.client_share,
        **cpu,
    }
