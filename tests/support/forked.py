"""Processes of the product that are forked from one that has imported everything, so that each starts in no time.

What they run is the product's own `main`. For tests that start many; how a process is started by itself, and what it
imports then, others look at.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    [
        "relaykit.api.__main__",
        "relaykit.worker.__main__",
        "tests.support.servers.relay_servers",
        "tests.support.servers.blocking_servers",
    ]
)

ROOT = Path(__file__).resolve().parents[2]


def fork(side: str, environ: dict[str, str], log: Path, prepare: Callable[[], None]) -> ForkServerProcess:
    """`main` of the API or the worker, after `prepare` in the new process. Its output goes to `log`."""
    log.touch()
    child = _forkserver.Process(target=_run, args=(side, environ, log, prepare))
    child.start()
    return child


def _run(side: str, environ: dict[str, str], log: Path, prepare: Callable[[], None]) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(ROOT)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.set_wakeup_fd(-1)
    prepare()
    os._exit(importlib.import_module(f"relaykit.{side}.__main__").main())


def nothing() -> None:
    pass


class ForkedPopen:
    """A forked process with what the tests use of `subprocess.Popen`."""

    def __init__(self, side: str, environ: dict[str, str], log: Path) -> None:
        self._child = fork(side, environ, log, nothing)
        self._polling = threading.Lock()
        assert self._child.pid is not None
        self.pid: int = self._child.pid

    def poll(self) -> int | None:
        with self._polling:
            return self._child.exitcode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self._child.name, timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
