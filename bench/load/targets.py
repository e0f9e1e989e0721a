"""What is asked for runs and measured by the same code: ours, the in-process baseline, a peer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psycopg

from bench.load.clients import posts
from bench.load.jobs import Job, Request
from bench.systems.server import Script
from bench.systems.stack import Process, Stack

END_SECONDS = 60.0
UNFINISHED = "SELECT count(*) FROM runs WHERE status IN ('waiting', 'queued', 'running')"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Where answers are asked for, each by a POST whose response is the stream."""

    posts: Callable[[Script, int], list[Request]]
    """So many of them, each a new thread."""
    rest: Callable[[], None]
    """Returns when no run is left: clients go, and runs go on."""
    processes: Mapping[str, Process] = field(default_factory=dict)
    """Its own, without Redis and PostgreSQL."""
    dialect: str = "chatkit"
    opens_per_second: float = 30.0
    """Of runs, at the least: so long each goes on before it is counted."""

    def job(self, script: Script, count: int, *, hold: bool = False, seconds: float = 0) -> Job:
        """All of them side by side."""
        requests = self.posts(script, count)
        return Job(requests, at_once=count, hold=hold, seconds=seconds, dialect=self.dialect)


def relaykit(stack: Stack, api: Process, **others: Process) -> System:
    return System(
        posts=lambda script, count: posts(api.url, script, count, stack),
        rest=lambda: nothing_left(stack.services.database_url, UNFINISHED),
        processes={"api": api, **others},
    )


def in_process(server: Process) -> System:
    """Its runs end with their clients."""
    return System(
        posts=lambda script, count: posts(server.url, script, count),
        rest=lambda: None,
        processes={"in_process": server},
    )


def nothing_left(database_url: str, query: str) -> None:
    """Waits until the query counts none. Raises RuntimeError after END_SECONDS."""
    deadline = time.monotonic() + END_SECONDS
    with psycopg.connect(database_url, autocommit=True) as database:
        while time.monotonic() < deadline:
            row = database.execute(query).fetchone()
            if row is None or row[0] == 0:
                return
            time.sleep(0.1)
    raise RuntimeError(f"runs that have not ended after {END_SECONDS:.0f} s")
