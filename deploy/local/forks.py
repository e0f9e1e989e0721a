"""The processes of a role as local mode has them: one on standby, and those that it has forked."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from relaykit.local.child import KILL_WAIT_SECONDS, Child, in_words
from relaykit.local.errors import LocalModeError
from relaykit.local.standby import ORDER
from relaykit.local.terminal import Terminal

POLL_SECONDS: Final = 0.01
FIRST_FREE: Final = 4
"""Descriptors below are standard ones, and the listener."""
NOT_FORKED: Final = 1
"""The exit code of a process for which the system had no room."""


class Forked:
    """A process of the API or a worker; `pid` is None until the standby has imported all and forks it."""

    def __init__(self, standby: Standby) -> None:
        self.pid: int | None = None
        self.code: int | None = None
        self._standby = standby
        self._asked: signal.Signals | None = None

    @property
    def name(self) -> str:
        return self._standby.name

    @property
    def end(self) -> str:
        """The process and how it ended, in words."""
        return in_words(self.name, self.exit_code())

    def exit_code(self) -> int | None:
        """None while it runs, or is yet to be forked; negative is the number of the signal that ended it."""
        self._standby.read()
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Does nothing when the process has ended. One that is yet to be forked gets the signal then."""
        if self.exit_code() is not None:
            return
        self._asked = number
        self._signal()

    def began(self, pid: int) -> None:
        self.pid = pid
        self._signal()

    def _signal(self) -> None:
        if self.pid is not None and self._asked is not None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, self._asked)

    def stop(self, number: signal.Signals, grace_seconds: float) -> None:
        """Asks it to end with `number`; kills it when it has not ended after `grace_seconds`."""
        self.send(number)
        if not self._wait(grace_seconds):
            self.send(signal.SIGKILL)
            self._wait(KILL_WAIT_SECONDS)

    def _wait(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while self.exit_code() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


class Standby:
    """The process on standby: it imports everything once, and forks a process for each order."""

    def __init__(self, child: Child, control: socket.socket, environment: Mapping[str, str]) -> None:
        self.name = child.name
        self.environment = environment
        """What it has imported everything with."""
        self.has_forked = False
        self._child = child
        self._control = control
        self._ordered: deque[Forked] = deque()
        self._running: dict[int, Forked] = {}
        self._received = b""

    @classmethod
    def start(
        cls,
        name: str,
        package: str,
        environment: Mapping[str, str],
        *,
        log: Path,
        listener: int | None,
        terminal: Terminal,
    ) -> Self:
        """Has it import `package`. `listener` becomes descriptor 3 of each process that it forks.

        Raises LocalModeError.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            given = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
        try:
            child = Child.start(
                name,
                [sys.executable, "-m", "relaykit.local.standby", package, str(given)],
                log=log,
                env=environment,
                death_signal=signal.SIGKILL,
                inherit=(given,),
                listener=listener,
                terminal=terminal,
            )
        finally:
            os.close(given)
        return cls(child, ours, environment)

    @property
    def has_ended(self) -> bool:
        return self._child.exit_code() is not None

    def fork(self, environment: Mapping[str, str]) -> Forked:
        """Returns at once, also while it is importing. What it cannot fork has ended.

        The environment goes through a file without a name, because it may be longer than what a socket or a pipe takes
        before the other side reads. Raises LocalModeError.
        """
        forked = Forked(self)
        try:
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(environment).encode())
                file.seek(0)
                socket.send_fds(self._control, [ORDER], [file.fileno()])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended, which `read` finds
        except OSError as error:
            raise LocalModeError(f"{self.name} cannot be started: {error}") from error
        self._ordered.append(forked)
        self.read()
        return forked

    def read(self) -> None:
        """Takes what it has told. Where it has ended itself, so have the processes that it forked."""
        code = self._child.exit_code()  # before its last words are read
        while received := self._receive():
            *lines, self._received = (self._received + received).split(b"\n")
            for line in lines:
                self._take(**json.loads(line))
        if code is not None:
            self._lose(code)

    def release(self) -> None:
        """It ends as soon as the processes that it has forked have."""
        with suppress(OSError):  # it has ended
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Once it has ended."""
        self.read()
        self._control.close()

    def kill(self) -> None:
        """Ends it, and what it has forked, at once. Safe in a signal handler."""
        self._child.send(signal.SIGKILL)

    def end(self) -> None:
        """Once what it has forked has ended. Waits for the last lines of all."""
        self._child.stop(signal.SIGKILL, KILL_WAIT_SECONDS)
        self.close()

    def _receive(self) -> bytes:
        try:
            return self._control.recv(65536)
        except OSError:  # nothing is there, or it has ended
            return b""

    def _take(self, pid: int, status: int | None = None) -> None:
        if status is not None:
            self._running.pop(pid).code = status
        elif pid > 0:
            self.has_forked = True
            self._running[pid] = forked = self._ordered.popleft()
            forked.began(pid)
        else:
            self._ordered.popleft().code = NOT_FORKED

    def _lose(self, code: int) -> None:
        for pid in self._running if sys.platform != "linux" else ():  # on Linux the kernel does it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for forked in (*self._ordered, *self._running.values()):
            forked.code = code
        self._ordered.clear()
        self._running.clear()


def stop_all(processes: Sequence[Forked], number: signal.Signals, grace_seconds: float) -> None:
    """Stops the processes side by side, so that they share one grace."""
    for process in processes:
        process.send(number)
    deadline = time.monotonic() + grace_seconds
    for process in processes:
        process.stop(number, max(0.0, deadline - time.monotonic()))
