"""A child process that does not outlive its parent, and whose output is kept in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from relaykit.local.errors import LocalModeError

LAST_LINES = 15
KILL_WAIT_SECONDS = 5.0
_WRAPPER = Path(__file__).with_name("exec_child.py")


@dataclass(frozen=True)
class User:
    """A system user to run a child as."""

    uid: int
    gid: int


class Child:
    """One running program.

    It has a session of its own, so that Ctrl-C in a terminal reaches only the parent, which then stops its children in
    order. On Linux the kernel sends it `death_signal` when the thread that called start() ends, however it ends.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str],
        death_signal: signal.Signals,
        user: User | None = None,
        stdin: bytes = b"",
        cwd: Path | None = None,
        inherit: Sequence[int] = (),
    ) -> Self:
        """Starts `command`, its output going to the file `log`, which begins empty.

        Raises LocalModeError when the program cannot be started.
        """
        owner = f"{user.uid}:{user.gid}" if user else "-"
        wrapper = [sys.executable, "-I", "-S", str(_WRAPPER), str(int(death_signal)), str(os.getpid()), owner]
        log.parent.mkdir(mode=0o700, exist_ok=True)
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # noqa: S603  # our own command lines
                    [*wrapper, *map(str, command)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(env),
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=tuple(inherit),
                )
            except OSError as error:
                raise LocalModeError(f"{name} cannot be started: {error}") from error
        _feed(process.stdin, stdin)
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative is the number of the signal that ended it."""
        return self._process.poll()

    def obituary(self) -> str:
        """How it ended, and the last lines it wrote."""
        code = self._process.poll()
        if code is None:
            how = "has not ended"
        else:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(
            [f"{self.name} {how}; its last lines ({self._log}):", *(f"    {line}" for line in lines)]
        )

    def send(self, number: signal.Signals) -> None:
        """Does nothing when the child has ended."""
        self._process.send_signal(number)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it ended within the time."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, number: signal.Signals, grace_seconds: float) -> None:
        """Asks it to end with `number`; kills it when it has not ended after `grace_seconds`."""
        self.send(number)
        if not self.wait(grace_seconds):
            self._process.kill()
            self._process.wait(KILL_WAIT_SECONDS)


def stop_all(children: Sequence[Child], number: signal.Signals, grace_seconds: float) -> None:
    """Stops the children side by side, so that they share one grace."""
    for child in children:
        child.send(number)
    deadline = time.monotonic() + grace_seconds
    for child in children:
        child.stop(number, max(0.0, deadline - time.monotonic()))


def _feed(stdin: IO[bytes] | None, content: bytes) -> None:
    assert stdin is not None
    try:
        with stdin:
            stdin.write(content)
    except BrokenPipeError:
        pass  # it has ended already, which its exit code tells
