"""Streams that stay open while they are counted again and again, over one load client or several."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields

from bench.load.jobs import Job, Request, Seen
from bench.systems.stack import ROOT

STOP_SECONDS = 30.0


class Counter:
    """Open streams."""

    def __init__(self, clients: Sequence[subprocess.Popen[str]]) -> None:
        self._clients = clients

    def count(self) -> Seen:
        """What comes within the seconds of the job, from now on. Raises RuntimeError where a stream was refused."""
        return self.begin()()

    def begin(self) -> Callable[[], Seen]:
        """The same, while something else is done: what it gives waits for the seconds to end."""
        for client in self._clients:
            _say(client, "count")
        for client in self._clients:
            if _line(client) != "counting\n":
                raise RuntimeError("a load client does not count")
        return self._finish

    def _finish(self) -> Seen:
        seen = merged([Seen(**json.loads(_line(client))) for client in self._clients])
        if seen.failed:
            raise RuntimeError(f"{seen.failed} streams were refused: {seen.refusal[0]}")
        return seen


@contextmanager
def counting(
    requests: Sequence[Request], seconds: float, *, clients: int = 1, opens_at_once: int = 100
) -> Iterator[Counter]:
    """All streams are open in the block, and cut at its end; with 0 `seconds` a count lasts until all have ended.

    `clients` is the number of load clients that share them.
    """
    with ExitStack() as stack:
        shares = [list(requests[number::clients]) for number in range(clients)]
        processes = [stack.enter_context(_client()) for _ in shares]
        for process, share in zip(processes, shares, strict=True):
            job = Job(
                share,
                at_once=max(1, len(share)),
                seconds=seconds,
                hold=True,
                windows=True,
                opens_at_once=max(1, opens_at_once // clients),
            )
            _say(process, json.dumps(asdict(job)))
        for process in processes:
            if _line(process) != "ready\n":
                raise RuntimeError("a load client did not get its streams")
        yield Counter(processes)


def merged(all_seen: Sequence[Seen]) -> Seen:
    """What several clients saw at the same time; of times and shares the largest."""
    result = Seen()
    for each in fields(Seen):
        values = [getattr(seen, each.name) for seen in all_seen]
        if isinstance(values[0], list):
            setattr(result, each.name, [value for found in values for value in found])
        else:
            largest = each.name in ("seconds", "opened_seconds", "cpu_share")
            setattr(result, each.name, max(values) if largest else sum(values))
    return result


@contextmanager
def _client() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load.streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait(STOP_SECONDS)
    finally:
        process.kill()
        process.wait()


def _say(client: subprocess.Popen[str], line: str) -> None:
    assert client.stdin is not None
    client.stdin.write(line + "\n")
    client.stdin.flush()


def _line(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise RuntimeError("a load client has ended")
    return line
