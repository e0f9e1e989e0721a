"""Runs a command while every core of the machine is kept busy: `python -m tests.busy COMMAND...`.

BUSY (3) processes a core, at normal priority, compute without a pause until the command has ended, or this process has.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys

PER_CORE = int(os.environ.get("BUSY", "3"))
PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    count = PER_CORE * len(os.sched_getaffinity(0))
    busy = [multiprocessing.Process(target=_compute, args=(os.getpid(),), daemon=True) for _ in range(count)]
    for process in busy:
        process.start()
    print(f"{count} processes keep the machine busy.", file=sys.stderr, flush=True)
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for process in busy:
            process.kill()


def _compute(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.getppid() == parent:
        sum(range(100_000))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
