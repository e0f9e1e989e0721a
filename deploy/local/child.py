"""A child process that does not outlive its parent, and whose output is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self, cast

from relaykit.local.errors import LocalModeError
from relaykit.local.terminal import Output, Terminal

LAST_LINES = 15
KILL_WAIT_SECONDS = 5.0
OUTPUT_SECONDS = 2.0
"""How long the output of a child that has ended may take to be read."""
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

    def __init__(
        self, name: str, spawn: Callable[[], subprocess.Popen[bytes]], log: Path, stdin: bytes
    ) -> None:
        self.name = name
        self._spawn = spawn
        self._log = log
        self._stdin = stdin
        self._output: Output | None = None
        self.start_again()

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
        listener: int | None = None,
        terminal: Terminal | None = None,
    ) -> Self:
        """Starts `command`, its output going to the file `log`, which begins empty; with `terminal` it goes there too,
        and is appended to the file.

        It reads `stdin`, which has to be short. `listener` becomes its descriptor 3. Raises LocalModeError when the
        program cannot be started.
        """
        owner = f"{user.uid}:{user.gid}" if user else "-"
        wrapper = [sys.executable, "-I", "-S", str(_WRAPPER), str(int(death_signal)), str(os.getpid()), owner]
        wrapper.append("-" if listener is None else str(listener))
        log.parent.mkdir(mode=0o700, exist_ok=True)

        def spawn() -> subprocess.Popen[bytes]:
            with nullcontext(subprocess.PIPE) if terminal else log.open("wb") as output:
                return subprocess.Popen(  # noqa: S603  # our own command lines
                    [*wrapper, *map(str, command)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(env),
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=(*inherit, *(() if listener is None else (listener,))),
                )

        child = cls(name, spawn, log, stdin)
        if terminal is not None:
            child._output = Output(name, cast(BinaryIO, child._process.stdout), log, terminal)
        return child

    def start_again(self) -> None:
        """Starts the same program in the same way: for one without a terminal. Raises LocalModeError."""
        try:
            self._process = self._spawn()
        except OSError as error:
            raise LocalModeError(f"{self.name} cannot be started: {error}") from error
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                stdin.write(self._stdin)
        except BrokenPipeError:
            pass  # it has ended already, which its exit code tells

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative is the number of the signal that ended it."""
        return self._process.poll()

    @property
    def end(self) -> str:
        """The child and how it ended, in words."""
        return in_words(self.name, self.exit_code())

    def obituary(self) -> str:
        """How it ended, and the last lines it wrote."""
        if self._output is not None:
            self._output.wait(OUTPUT_SECONDS)
        lines = self._log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([f"{self.end}; its last lines ({self._log}):", *(f"    {line}" for line in lines)])

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
        if self._output is not None:
            self._output.wait(OUTPUT_SECONDS)


def in_words(name: str, code: int | None) -> str:
    """The process of this name, and how it ended with this exit code."""
    if code is None:
        return f"{name} has not ended"
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"{name} {how}"
