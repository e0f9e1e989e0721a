"""The API and worker processes of local mode: started, started again when they end, and replaced by newer code."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from relaykit.local.errors import LocalModeError, ProcessFailed
from relaykit.local.forks import Forked, Standby, stop_all
from relaykit.local.readiness import Readiness
from relaykit.local.terminal import Terminal

START_SECONDS: Final = 120.0
"""What a process may take to become ready."""
STEADY_SECONDS: Final = 10.0
"""A process that has been ready for so long is started again at once, whatever those before it did."""
PAUSES_SECONDS: Final = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Before a process that ended is started again: the first, and the next where that one was not ready for long."""


@dataclass
class Role:
    """What a process is for, such as `worker 0`, and the processes that have to do with it."""

    name: str
    side: str
    package: str
    """What its process runs."""
    environment: Mapping[str, str]
    """What its process has besides the environment of all."""
    listener: int | None = None
    standby: Standby | None = None
    """What forks its processes."""
    running: Forked | None = None
    next: Forked | None = None
    """What is to take the place of `running`, once it is ready."""
    ready_by: float = 0.0
    """When `running` is ended, if it is not ready, by the monotonic clock."""
    ready_at: float | None = None
    """Since when `running` is ready; None where it is not."""
    failures: int = 0
    """How often in a row a process ended that was not ready for long."""
    starts_at: float | None = None
    """When the next one is started, where none runs."""


@dataclass
class Fleet:
    """`step` is to be called some ten times a second; nothing here waits but `stop`."""

    roles: Sequence[Role]
    make_environment: Callable[[], Mapping[str, str]]
    """Gives the environment of processes that start now. Raises LocalModeError."""
    data_dir: Path
    readiness: Readiness
    terminal: Terminal
    grace_seconds: float
    """What a process may take to stop before it is killed."""
    start_seconds: float = START_SECONDS
    steady_seconds: float = STEADY_SECONDS
    _environment: Mapping[str, str] = field(default_factory=dict)
    """Of the processes that were started or reloaded last."""
    _retired: list[tuple[Forked, float]] = field(default_factory=list)
    """Processes that were replaced, and when each is killed."""
    _released: list[Standby] = field(default_factory=list)
    """Those that end as soon as what they have forked has."""
    _reload_ends_at: float | None = None
    """When the replacements have to be ready; None while none is under way."""
    _is_replaced: bool = False
    """Whether all were replaced, and those before have not all ended."""

    def start(self) -> None:
        self._environment = self.make_environment()
        for role in self.roles:
            self._start(role)

    @property
    def is_ready(self) -> bool:
        """Whether every role has a process that is ready. Raises ProcessFailed where one has ended before."""
        for role in self.roles:
            if role.running is not None and role.running.exit_code() is not None:
                raise ProcessFailed(role.running.end, role.running.exit_code())
        return all(self._is_ready(role.running) for role in self.roles)

    def step(self) -> None:
        for role in self.roles:
            self._look_at(role)
        if self._reload_ends_at is not None:
            self._look_at_replacements(self._reload_ends_at)
        self._look_at_retired()

    def reload(self, *, anew: bool = False) -> None:
        """Begins to replace every process by one of the code as it is saved now, as soon as all of those are ready.

        `anew`: those on standby have imported what has changed. Another environment is imported anew as well.
        """
        try:
            environment = self.make_environment()
        except LocalModeError as error:
            self.terminal.say(f"Not reloaded, what was loaded before goes on: {error}")
            return
        self._environment = environment
        for role in self.roles:
            self._retire(role.next)
            if role.standby is not None and (anew or role.standby.environment != environment):
                self._release(role)
            role.next = self._begin(role)
            role.starts_at = None
        self._reload_ends_at = time.monotonic() + self.start_seconds

    def stop(self, last_seconds: float = 0.0) -> None:
        """Ends all of them, those of the last side first. `last_seconds` is what an API may take besides."""
        for standby in self._standbys:
            if not standby.has_forked:
                standby.kill()
        for side in dict.fromkeys(role.side for role in reversed(self.roles)):
            seconds = self.grace_seconds + (last_seconds if side == "api" else 0.0)
            ending = [role for role in self.roles if role.side == side]
            processes = [process for role in ending for process in (role.running, role.next)]
            stop_all([process for process in processes if process is not None], signal.SIGTERM, seconds)
        stop_all([process for process, _ in self._retired], signal.SIGTERM, self.grace_seconds)
        for standby in self._standbys:
            standby.end()

    def kill(self) -> None:
        """Ends every process at once. Safe in a signal handler."""
        for standby in self._standbys:
            standby.kill()

    @property
    def _standbys(self) -> list[Standby]:
        return [*(role.standby for role in self.roles if role.standby is not None), *self._released]

    def _start(self, role: Role) -> None:
        role.running, role.starts_at, role.ready_at = self._begin(role), None, None
        role.ready_by = time.monotonic() + self.start_seconds

    def _begin(self, role: Role) -> Forked:
        if role.standby is not None and role.standby.has_ended:
            self._release(role)
        if role.standby is None:
            role.standby = Standby.start(
                role.name,
                role.package,
                self._environment,
                log=self.data_dir / "logs" / f"{role.name.replace(' ', '-')}.log",
                listener=role.listener,
                terminal=self.terminal,
            )
        address = self.readiness.address
        return role.standby.fork({**self._environment, **role.environment, "NOTIFY_SOCKET": address})

    def _release(self, role: Role) -> None:
        if role.standby is not None:
            role.standby.release()
            self._released.append(role.standby)
            role.standby = None

    def _is_ready(self, process: Forked | None) -> bool:
        if process is None or process.exit_code() is not None or process.pid is None:
            return False
        return self.readiness.is_ready(process.pid)

    def _look_at(self, role: Role) -> None:
        """Starts a process in place of one that has ended, and ends one that does not become ready."""
        running, now = role.running, time.monotonic()
        if running is not None and running.exit_code() is not None:
            self._forget(running)
            if role.ready_at is not None and now - role.ready_at >= self.steady_seconds:
                role.failures = 0
            pause = PAUSES_SECONDS[min(role.failures, len(PAUSES_SECONDS) - 1)]
            role.failures += 1
            role.running, role.starts_at = None, now + pause
            self.terminal.say(f"{running.end}; it is started again{f' in {pause:g} s' if pause else ''}.")
        elif running is not None and role.ready_at is None:
            if self._is_ready(running):
                role.ready_at = now
            elif now > role.ready_by:
                role.ready_by = now + self.start_seconds
                self.terminal.say(f"{role.name} is not ready after {self.start_seconds:g} s; it is ended.")
                self._end_hung(role, running)
        if role.starts_at is not None and now >= role.starts_at and role.next is None:
            self._start(role)

    def _look_at_replacements(self, ends_at: float) -> None:
        nexts = [role.next for role in self.roles if role.next is not None]
        if all(self._is_ready(process) for process in nexts):
            for role in self.roles:
                self._retire(role.running)
                role.running, role.next = role.next, None
                role.failures, role.starts_at, role.ready_at = 0, None, time.monotonic()
            self._reload_ends_at = None
            self._is_replaced = True
        elif failed := next((process for process in nexts if process.exit_code() is not None), None):
            self._give_up_reload(f"{failed.end} before it was ready")
        elif time.monotonic() > ends_at:
            for role in self.roles:
                self._end_hung(role, role.next)
            self._give_up_reload(f"it was not ready after {self.start_seconds:g} s")

    def _give_up_reload(self, reason: str) -> None:
        for role in self.roles:
            self._retire(role.next)
            role.next = None
            if role.running is None:
                role.starts_at = time.monotonic() + PAUSES_SECONDS[-1]
        self._reload_ends_at = None
        goes_on = all(self._is_ready(role.running) for role in self.roles)
        self.terminal.say(
            f"Not reloaded{', the code that was loaded before goes on' if goes_on else ''}: {reason}."
        )

    def _end_hung(self, role: Role, process: Forked | None) -> None:
        """Where it is not even forked, what is to fork it hangs."""
        if process is None or self._is_ready(process):
            return
        if process.pid is None and role.standby is not None:
            role.standby.kill()
        process.send(signal.SIGKILL)

    def _retire(self, process: Forked | None) -> None:
        if process is not None:
            process.send(signal.SIGTERM)
            self._retired.append((process, time.monotonic() + self.grace_seconds))

    def _look_at_retired(self) -> None:
        left = []
        for process, killed_at in self._retired:
            if process.exit_code() is not None:
                self._forget(process)
                continue
            if time.monotonic() > killed_at:
                process.send(signal.SIGKILL)
            left.append((process, killed_at))
        self._retired = left
        if self._is_replaced and not left:
            self._is_replaced = False
            self.terminal.say("Reloaded.")
        for standby in [standby for standby in self._released if standby.has_ended]:
            standby.close()
            self._released.remove(standby)

    def _forget(self, process: Forked) -> None:
        if process.pid is not None:
            self.readiness.forget(process.pid)
