"""Load clients as the benchmarks see them: a job in, what it saw out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from bench.load.jobs import Job, Request, Seen
from bench.systems.server import Script
from bench.systems.stack import ROOT, Stack

MAX_LOAD_SECONDS = 300.0


def load(job: Job) -> Seen:
    """Runs the job in a process of its own, to its end. Raises RuntimeError where a stream was refused."""
    with loading(job) as finish:
        return finish()


@contextmanager
def loading(job: Job) -> Iterator[Callable[[], Seen]]:
    """The same, while the block does something else. With `hold` it begins once all streams have begun."""
    client = subprocess.Popen(
        [sys.executable, "-m", "bench.load.streams"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    stdin, stdout = client.stdin, client.stdout
    stdin.write(json.dumps(asdict(job)) + "\n")
    stdin.flush()

    def finish() -> Seen:
        if job.hold:
            stdin.write("go\n")
            stdin.flush()
        seen = Seen(**json.loads(stdout.readline()))
        if seen.failed:
            raise RuntimeError(f"{seen.failed} streams were refused: {seen.refusal[0]}")
        return seen

    try:
        if job.hold and stdout.readline() != "ready\n":
            raise RuntimeError("the load client did not get its streams")
        yield finish
        client.wait(MAX_LOAD_SECONDS)
    finally:
        client.kill()
        client.wait()


def posts(url: str, script: Script, count: int, stack: Stack | None = None) -> list[Request]:
    """`count` new threads at an API of the stack, or at the in-process baseline where there is none."""
    headers = {"content-type": "application/json"}
    if stack is not None:
        headers |= {"authorization": f"Bearer {stack.token()}", "relaykit-resume": "1"}
    return [
        Request(f"{url}/chatkit", "POST", _keyed(headers, stack, number), _create(script))
        for number in range(count)
    ]


def follows(url: str, run_ids: Iterable[str], stack: Stack, after: str | None = None) -> list[Request]:
    """A stream of each run, from its start or after a cursor."""
    headers = {"authorization": f"Bearer {stack.token()}", "relaykit-resume": "1"}
    if after is not None:
        headers["last-event-id"] = after
    return [Request(f"{url}/runs/{run_id}/events", "GET", headers) for run_id in run_ids]


_keys = iter(range(1_000_000_000))


def _keyed(headers: dict[str, str], stack: Stack | None, number: int) -> dict[str, str]:
    """The same words again are another message."""
    return headers if stack is None else {**headers, "idempotency-key": f"bench-{next(_keys)}"}


def _create(script: Script) -> str:
    content = [{"type": "input_text", "text": str(script)}]
    given = {"content": content, "attachments": [], "inference_options": {}}
    return json.dumps({"type": "threads.create", "params": {"input": given}})
