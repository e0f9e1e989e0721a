"""The feeder as the benchmarks see it, and the rows of the runs that it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import psycopg

from bench.journal_feeder.events import events_of
from bench.journal_feeder.feeder import Fed
from bench.systems.stack import ROOT, Stack
from relaykit.shared.runs.run import Kind, Status, new_run_id

OWNER = "bench"
STOP_SECONDS = 10.0

ROWS = """
INSERT INTO runs (id, tenant, owner, thread_id, kind, input, context, status, attempt, idempotency_key, started_at)
VALUES (%s, '', %s, %s, %s, '{}', '{}', %s, 1, %s, now())
"""


class FeederProcess:
    """Orders to it; each answer is of the time since the order before, or of a burst."""

    def __init__(self, process: subprocess.Popen[str], run_ids: list[str]) -> None:
        self._process = process
        self.pid = process.pid
        self.run_ids = run_ids

    def rate(self, per_second: float) -> Fed:
        return self._order({"rate": per_second})

    def burst(self, deltas: int, per_append: int = 1) -> Fed:
        return self._order({"burst": deltas, "per_append": per_append})

    def end(self) -> None:
        self._order({"end": True})

    def _order(self, order: dict[str, float | bool]) -> Fed:
        return Fed(**json.loads(self.say(json.dumps(order))))

    def say(self, line: str) -> str:
        """The answer to a line. Raises RuntimeError where the feeder has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the feeder has ended")
        return answer


@contextmanager
def feeding(stack: Stack, runs: int) -> Iterator[FeederProcess]:
    """New runs of the caller `bench`, running and held, whose journals a feeder writes until the block ends."""
    run_ids = _rows(stack, runs)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.journal_feeder.feeder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=stack.environ,
    )
    try:
        feeder = FeederProcess(process, run_ids)
        events = [asdict(events_of(run_id, _thread_of(run_id))) for run_id in run_ids]
        if feeder.say(json.dumps(events)) != "ready\n":
            raise RuntimeError("the feeder is not ready")
        yield feeder
    finally:
        _end(process)


def _rows(stack: Stack, count: int) -> list[str]:
    run_ids = [new_run_id() for _ in range(count)]
    with psycopg.connect(stack.services.database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            ROWS,
            [(run_id, OWNER, _thread_of(run_id), Kind.CREATE, Status.RUNNING, run_id) for run_id in run_ids],
        )
    return run_ids


def _thread_of(run_id: str) -> str:
    """A thread of its own for each run."""
    return f"thr_{run_id}"


def _end(process: subprocess.Popen[str]) -> None:
    """The end of its stdin ends it."""
    assert process.stdin is not None
    try:
        process.stdin.close()
        process.wait(STOP_SECONDS)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
