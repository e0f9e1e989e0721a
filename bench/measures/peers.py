"""Beside Agno's queue mode: the same answers of the same deltas, through its AgentOS and through ours, by turns.

Two processes each, on the same Redis and PostgreSQL: of ours an API and a worker, of Agno two replicas, each of which
is both. Runs only when it is asked for, since it needs an environment of its own.
"""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load.clients import load, loading
from bench.load.jobs import Job, Seen
from bench.load.many_runs import Held, most
from bench.load.targets import System, relaykit
from bench.measures import Scale
from bench.measures.latency import Times
from bench.output.results import Measure, spread
from bench.peers.agno_replicas import check_installed, replicas, worker_apart
from bench.systems.server import Script
from bench.systems.stack import Stack, stack
from bench.systems.usage import connections_to, groups, measured

AGNO = "Agno 3.1.10, queue"
WARM_POSTS = 20
WARM_POSTS_APART = 3
FAST_RUNS = 50
PER_SECOND = 50
MAX_P99 = 100.0
OUR_STEPS = (50, 100, 150, 200, 300, 400)
THEIR_STEPS = (10, 20, 40, 60, 80, 100, 150, 200)
PACED_RUNS = 20
SLOW_PER_SECOND = 2
SLOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Both:
    """On the same services."""

    services: Stack
    ours: System
    theirs: System


def measure(scale: Scale) -> list[Measure]:
    check_installed()
    with stack() as services:
        with services.starting():
            api, worker = services.api(), services.worker()
        both = Both(services, relaykit(services, api, worker=worker), replicas(services))
        connections = _connections(both, scale)  # first: pools keep what more clients have once needed
        found = [_first_delta(both, scale), _fast(both, scale)]
        held, runs = _held(both, scale)
        found += [held, _cpu(both, runs, scale), connections]
        apart = worker_apart(services)
        found.insert(1, _first_delta_apart(Both(services, both.ours, apart), scale))
    return found


def _first_delta(both: Both, scale: Scale) -> Measure:
    ours, theirs = _first_deltas(both, *scale.of((2, 20), (8, 50)), WARM_POSTS)
    return _latency(
        "first_delta", AGNO, ours, theirs, "Its replica that took the request is woken to execute the run"
    )


def _first_delta_apart(both: Both, scale: Scale) -> Measure:
    """Each after a pause of its own: one after the other they would all come just after the worker has looked."""
    ours, theirs = _first_deltas(both, scale.of(4, 30), 1, WARM_POSTS_APART, pause_seconds=1.0)
    said = "Its other process executes the runs, and looks for them once a second, which is its default"
    return _latency("first_delta_worker_apart", f"{AGNO}, worker apart", ours, theirs, said)


def _first_deltas(
    both: Both, rounds: int, count: int, warm: int, pause_seconds: float = 0
) -> tuple[Times, Times]:
    """One POST at a time; before each round of so many a pause, of that length at most."""
    ours, theirs = Times(), Times()
    for system in (both.ours, both.theirs):
        load(_one_by_one(system, warm))
    for _ in range(rounds):
        for system, times in ((both.ours, ours), (both.theirs, theirs)):
            time.sleep(pause_seconds * random.random())  # noqa: S311
            times.rounds.append(load(_one_by_one(system, count)).first_delta)
    for times in (ours, theirs):
        if len(times.all) != rounds * count:
            raise RuntimeError(f"{len(times.all)} of {rounds * count} answers had a delta")
    return ours, theirs


def _one_by_one(system: System, count: int) -> Job:
    return Job(system.posts(Script(), count), dialect=system.dialect)


def _latency(name: str, against: str, ours: Times, theirs: Times, said: str) -> Measure:
    return Measure(
        measure=f"peers.{name}",
        value=ours.p50,
        unit="ms",
        baseline=theirs.p50,
        against=against,
        p50=ours.p50,
        p99=ours.p99,
        spread=ours.spread,
        note=f"from the POST, a new thread each, {len(ours.all)} posts each, one at a time. "
        f"Agno: p99 {theirs.p99:.1f} ms, spread {theirs.spread:.2f} ms. {said}",
    )


def _fast(both: Both, scale: Scale) -> Measure:
    deltas, rounds = scale.of((40, 1), (500, 2))
    ours: list[float] = []
    theirs: list[float] = []
    client_share = 0.0
    for _ in range(rounds):
        for system, rates in ((both.ours, ours), (both.theirs, theirs)):
            seen = _complete(load(system.job(Script(deltas=deltas), FAST_RUNS)), FAST_RUNS * deltas)
            system.rest()
            rates.append(seen.deltas / seen.seconds)
            client_share = max(client_share, seen.cpu_share)
    return Measure(
        measure=f"peers.deltas_of_{FAST_RUNS}_runs",
        value=statistics.median(ours),
        unit="deltas/s",
        baseline=statistics.median(theirs),
        against=AGNO,
        spread=spread(ours),
        note=f"{deltas} deltas a run as fast as they go, from the first POST to the last end. Ours joins deltas that "
        f"wait together, Agno sends each as an event. Load client {client_share:.0%} of a core",
    )


def _held(both: Both, scale: Scale) -> tuple[Measure, int]:
    """And for how many runs CPU can be compared."""
    seconds = scale.of(1.0, 3.0)
    theirs, their_steps = most(both.theirs, scale.of((10, 20), THEIR_STEPS), PER_SECOND, seconds, MAX_P99)
    ours, our_steps = most(both.ours, scale.of((50,), OUR_STEPS), PER_SECOND, seconds, MAX_P99)
    client_share = max(one.client_share for one in [*our_steps, *their_steps])
    found = Measure(
        measure="peers.runs_held",
        value=ours.runs if ours else 0,
        unit="runs",
        baseline=theirs.runs if theirs else 0,
        against=AGNO,
        p50=ours.p50 if ours else None,
        p99=ours.p99 if ours else None,
        note=f"of {PER_SECOND} deltas/s, p99 under {MAX_P99:.0f} ms. Ours: {_told(our_steps)}. "
        f"Agno: {_told(their_steps)}. Load client {client_share:.0%} of a core",
    )
    return found, min(PACED_RUNS, theirs.runs if theirs else their_steps[0].runs)


def _told(steps: list[Held]) -> str:
    return "; ".join(map(str, steps))


def _cpu(both: Both, runs: int, scale: Scale) -> Measure:
    script, rounds = Script(deltas=scale.of(150, 500), per_second=PER_SECOND), scale.of(1, 3)
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for _ in range(rounds):
        for system, found in ((both.ours, ours), (both.theirs, theirs)):
            found.append(_cpu_us(both.services, system, script, runs))
    totals = [sum(one.values()) for one in ours]
    return Measure(
        measure="peers.cpu_per_delta",
        value=statistics.median(totals),
        unit="us",
        baseline=statistics.median(sum(one.values()) for one in theirs),
        against=AGNO,
        spread=spread(totals),
        note=f"of all processes but the load client, {runs} runs of {PER_SECOND} deltas/s. "
        f"Ours: {_by_process(ours)}. Agno: {_by_process(theirs)}",
    )


def _cpu_us(services: Stack, system: System, script: Script, runs: int) -> dict[str, float]:
    """A delta, by process, until no run is left."""
    with measured(groups(services, **system.processes)) as usage:
        seen = _complete(load(system.job(script, runs)), runs * script.deltas)
        system.rest()
    return {name: used / seen.deltas * 1e6 for name, used in usage.cpu_seconds.items()}


def _by_process(rounds: list[dict[str, float]]) -> str:
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return ", ".join(f"{name} {used:.0f}" for name, used in medians.items())


def _connections(both: Both, scale: Scale) -> Measure:
    clients = scale.of(20, 100)
    ours, ours_before = _redis_connections(both.services, both.ours, clients)
    theirs, theirs_before = _redis_connections(both.services, both.theirs, clients)
    return Measure(
        measure=f"peers.redis_connections_{clients}_clients",
        value=ours,
        unit="connections",
        baseline=theirs,
        against=AGNO,
        note=f"of API and worker, and of both replicas, each client with a stream of {SLOW_PER_SECOND} deltas/s. "
        f"Without clients {ours_before}; Agno {theirs_before}",
    )


def _redis_connections(services: Stack, system: System, clients: int) -> tuple[int, int]:
    """With so many clients that are all sent their deltas, and before they came."""
    port = urlsplit(services.services.redis_url).port or 0

    def count() -> int:
        return sum(connections_to(process.pid, port) for process in system.processes.values())

    before = count()
    deltas = int(SLOW_PER_SECOND * (clients / system.opens_per_second + 1 + SLOW_SECONDS))
    script = Script(deltas=deltas, per_second=SLOW_PER_SECOND)
    with loading(system.job(script, clients, hold=True, seconds=SLOW_SECONDS)) as finish:
        found = count()
        seen = finish()
    system.rest()
    due = clients * SLOW_PER_SECOND * seen.seconds
    if seen.deltas < 0.9 * due:
        raise RuntimeError(f"{seen.deltas} deltas of {due:.0f} came to {clients} clients")
    return found, before


def _complete(seen: Seen, deltas: int) -> Seen:
    """Raises RuntimeError where one is missing."""
    if seen.deltas != deltas:
        raise RuntimeError(f"{seen.deltas} deltas of {deltas} came")
    return seen
