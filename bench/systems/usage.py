"""CPU seconds and memory of processes, by what they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from bench.systems.stack import Process, Stack


@dataclass
class Usage:
    """CPU seconds by name, over the block of `measured`."""

    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.cpu_seconds.values())


def groups(stack: Stack, **named: Process) -> dict[str, list[int]]:
    """Pids by name: what is named, Redis and PostgreSQL."""
    found = {name: [process.pid] for name, process in named.items()}
    return {**found, "redis": [stack.redis_pid], "postgres": [stack.postgres_pid]}


@contextmanager
def measured(pids: Mapping[str, list[int]]) -> Iterator[Usage]:
    """CPU that the processes and their children use in the block. PostgreSQL's sessions are children of its first."""
    usage = Usage()
    before = {name: cpu_seconds(found) for name, found in pids.items()}
    yield usage
    usage.cpu_seconds.update({name: cpu_seconds(found) - before[name] for name, found in pids.items()})


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes and their children, those that have ended as well, since they began."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            try:
                times = each.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


def connections_to(pid: int, port: int) -> int:
    """Established TCP connections of the process to that port."""
    found = psutil.Process(pid).net_connections(kind="tcp")
    return sum(1 for each in found if each.status == psutil.CONN_ESTABLISHED and each.raddr[1] == port)


@contextmanager
def peak_resident(pid: int, every_seconds: float = 0.02) -> Iterator[Callable[[], int]]:
    """The most memory that the process has had since the block began, looked at so often."""
    peak, ended = resident_bytes(pid), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(every_seconds):
            peak = max(peak, resident_bytes(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield lambda: peak
    finally:
        ended.set()
        watching.join()
