"""Processes of the product that are forked from one that has imported everything, so that each starts in no time.

What they run is the product's own `run`, or its command, to the end of the process. How a process is started by itself,
and what it imports then, is looked at by the tests that start one anew.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from relaykit import cli

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    [
        "relaykit.api.__main__",
        "relaykit.worker.__main__",
        "relaykit.check",
        "relaykit.operator_commands.retry",
        "relaykit.operator_commands.status",
        "relaykit.thread_import.command",
        "tests.support.servers.relay_servers",
        "tests.support.servers.blocking_servers",
    ]
)

ROOT = Path(__file__).resolve().parents[3]


_reading = threading.Lock()
"""A child's status can be read once, and multiprocessing reads those of all that have ended when it starts another."""

READ_AT_START = ("PYTHON", "LD_", "LC_", "TZ", "MALLOC_")
"""How variables begin that a process reads before it runs any of its code: a forked one would not heed them."""


def fork(side: str, environ: dict[str, str], log: Path, prepare: Callable[[], None]) -> ForkServerProcess:
    """`run` of the API or the worker, after `prepare` in the new process. Its output goes to `log`."""
    _check(environ)
    log.touch()
    child = _forkserver.Process(target=_run, args=(side, environ, log, prepare))
    with _reading:
        child.start()
    return child


def _run(side: str, environ: dict[str, str], log: Path, prepare: Callable[[], None]) -> None:
    _become(environ, ROOT, log, log)
    prepare()
    importlib.import_module(f"relaykit.{side}.__main__").run()


def _check(environ: Mapping[str, str]) -> None:
    found = {name: value for name, value in environ.items() if name.startswith(READ_AT_START)}
    assert found.items() <= {("PYTHONPATH", str(ROOT))}, (
        f"A forked process would not heed {found}: start it anew."
    )


def _become(
    environ: dict[str, str], folder: Path, output: Path, errors: Path, terminal: str = os.devnull
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for number, path in enumerate((terminal, output, errors)):
        given = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
        os.dup2(given, number)
        os.close(given)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has put another in its place
    signal.set_wakeup_fd(-1)


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Finished:
    """What a command came to."""

    status: int
    output: str
    errors: str


def run_command(
    arguments: Sequence[str],
    environ: dict[str, str],
    *,
    folder: Path = ROOT,
    terminal: str = os.devnull,
    prepare: Callable[[], None] = nothing,
    timeout: float,
) -> Finished:
    """`relaykit ARGUMENTS` in the folder, after `prepare` in the new process; `terminal` is the path of its input."""
    _check(environ)
    with tempfile.TemporaryDirectory(prefix="relaykit-command-") as place:
        output, errors = Path(place, "output"), Path(place, "errors")
        output.touch()
        errors.touch()
        given = (list(arguments), environ, folder, output, errors, terminal, prepare)
        child = _forkserver.Process(target=_command, args=given)
        with _reading:
            child.start()
        has_ended = wait([child.sentinel], timeout)
        with _reading:
            if not has_ended:
                child.kill()
            child.join()
        if not has_ended:
            raise TimeoutError(f"relaykit {' '.join(arguments)}: {errors.read_text(errors='replace')}")
        return Finished(child.exitcode, output.read_text(), errors.read_text())


def _command(
    arguments: list[str],
    environ: dict[str, str],
    folder: Path,
    output: Path,
    errors: Path,
    terminal: str,
    prepare: Callable[[], None],
) -> None:
    _become(environ, folder, output, errors, terminal)
    prepare()
    sys.argv = ["relaykit", *arguments]
    cli.entry_point()


class ForkedPopen:
    """A forked process with what the tests use of `subprocess.Popen`."""

    def __init__(
        self, side: str, environ: dict[str, str], log: Path, prepare: Callable[[], None] = nothing
    ) -> None:
        self._child = fork(side, environ, log, prepare)
        assert self._child.pid is not None
        self.pid: int = self._child.pid

    def poll(self) -> int | None:
        with _reading:
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
