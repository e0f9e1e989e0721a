"""Agno's replicas on a benchmark's services: started, asked for runs, and waited for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from urllib.parse import urlencode

import psycopg

from bench.load.jobs import Request
from bench.load.targets import System, nothing_left
from bench.systems.server import Script
from bench.systems.stack import ROOT, Process, Stack

ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
COMPLETE = ENVIRONMENT / ".complete"
MODULE = "bench.peers.agno_os"
RUNS_PATH = "/agents/bench/runs"
MAX_RUNS = "1000"
"""Of a replica, as of our worker in all benchmarks."""
UNFINISHED = "SELECT count(*) FROM ai.agno_jobs WHERE status IN ('queued', 'running')"
OPENS_PER_SECOND = 10.0


def check_installed() -> None:
    """Raises LookupError where the environment is not there, or not whole."""
    if not COMPLETE.exists():
        raise LookupError(
            f"{ENVIRONMENT.name} is not there, which has the peers: `make bench PEERS=1` makes it"
        )


def replicas(stack: Stack) -> System:
    """Two alike, as Agno's documentation has them: each takes every other request, and each is a worker."""
    database_url, environ = _own(stack, "agno", 1)
    started = [_replica(stack, environ, claims=True) for _ in range(2)]
    return _system(database_url, started, {f"replica_{number}": one for number, one in enumerate(started)})


def worker_apart(stack: Stack) -> System:
    """One that takes the requests and one that executes the runs, as ours are."""
    database_url, environ = _own(stack, "agno_apart", 2)
    api = _replica(stack, environ, claims=False)
    return _system(database_url, [api], {"api": api, "worker": _replica(stack, environ, claims=True)})


def _own(stack: Stack, database: str, number: int) -> tuple[str, dict[str, str]]:
    """A database of its own on each of the servers: the address in PostgreSQL, and the environment with both."""
    with psycopg.connect(stack.services.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
    database_url = f"{stack.services.database_url.rpartition('/')[0]}/{database}"
    redis_url = f"{stack.services.redis_url.rpartition('/')[0]}/{number}"
    return database_url, {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "MAX_RUNS": MAX_RUNS}


def _replica(stack: Stack, environ: dict[str, str], *, claims: bool) -> Process:
    """The first of a database makes the tables: one after the other."""
    more = {**environ, "CLAIMS": str(int(claims))}
    return stack.start(MODULE, more, serves=True, python=str(PYTHON), ready="/health")


def _system(database_url: str, asked: Sequence[Process], processes: dict[str, Process]) -> System:
    turns = cycle(asked)
    return System(
        posts=lambda script, count: [_post(next(turns).url, script) for _ in range(count)],
        rest=lambda: nothing_left(database_url, UNFINISHED),
        processes=processes,
        dialect="agno",
        opens_per_second=OPENS_PER_SECOND,
    )


def _post(url: str, script: Script) -> Request:
    """A run in the background, in a new session, whose stream is the response."""
    form = {"message": str(script), "background": "true", "stream": "true"}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request(f"{url}{RUNS_PATH}", "POST", headers, urlencode(form))
