"""`python -m bench.tracing`: CPU of API and worker for each delta, with traces and without, by turns.

Two stacks side by side, of which one sends its spans to a receiver that throws them away. ROUNDS (7) of each, and the
order of the two changes from round to round.
"""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.load.clients import load, posts
from bench.load.jobs import Job
from bench.systems.server import Script
from bench.systems.stack import Process, Stack, stack
from bench.systems.usage import measured

RUNS, AT_ONCE, DELTAS = 40, 20, 500
SCRIPT = Script(deltas=DELTAS, per_second=200, parts=2)
"""No two neighbours can be joined: each delta is an entry of its own."""


def main() -> None:
    rounds = int(os.environ.get("ROUNDS", "7"))
    with ExitStack() as ending:
        url = ending.enter_context(_receiver())
        off, on = ending.enter_context(stack()), ending.enter_context(stack(OTEL_EXPORTER_OTLP_ENDPOINT=url))
        sides: list[tuple[Stack, list[Process], list[float]]] = []
        for services in (off, on):
            with services.starting():
                processes = [services.api(), services.worker()]
            sides.append((services, processes, []))
            _cpu_us(services, processes)  # what a process does for the first time
        for number in range(rounds):
            for services, processes, found in sides[:: 1 if number % 2 else -1]:
                found.append(_cpu_us(services, processes))
    without, traced = (statistics.median(found) for _, _, found in sides)
    print(f"{rounds} rounds of {RUNS} runs with {DELTAS} deltas each, medians; CPU of API and worker")
    for name, (_, _, found) in zip(("without", "with traces"), sides, strict=True):
        shown = " ".join(f"{each:.1f}" for each in found)
        print(f"{name:12} {statistics.median(found):6.1f} us a delta   ({shown})")
    ratio = statistics.median(b / a for a, b in zip(sides[0][2], sides[1][2], strict=True))
    print(f"ratio        {traced / without:.3f} of the medians; {ratio:.3f}, the median of the rounds'")
    print(f"a run        {(traced - without) * DELTAS / 1_000:.2f} ms more")


def _cpu_us(services: Stack, processes: list[Process]) -> float:
    with measured({"ours": [process.pid for process in processes]}) as usage:
        seen = load(Job(posts(services.apis[0].url, SCRIPT, RUNS, services), at_once=AT_ONCE))
    assert seen.deltas == RUNS * DELTAS
    return 1e6 * usage.total / seen.deltas


@contextmanager
def _receiver() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
