"""The API and worker processes of local mode: started, started again when they end, and replaced by newer code."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from relaykit.local.child import Child, stop_all
from relaykit.local.errors import LocalModeError, ProcessFailed
from relaykit.local.readiness import Readiness
from relaykit.local.terminal import Terminal

START_SECONDS: Final = 120.0
PAUSES_SECONDS: Final = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Before a process that ended is started again: the first, and the next where that one did not become ready."""


@dataclass
class Role:
    """What a process is for, such as `worker 0`, and the processes that have to do with it."""

    name: str
    side: str
    environment: Mapping[str, str]
    """What its process has besides the environment of all."""
    listener: int | None = None
    running: Child | None = None
    next: Child | None = None
    """What is to take the place of `running`, once it is ready."""
    standby: Child | None = None
    is_standby_broken: bool = False
    """Whether the last one on standby ended by itself: there is no other before the next change."""
    failures: int = 0
    """How often in a row a process ended before it was ready."""
    starts_at: float | None = None
    """When the next one is started, by the monotonic clock, where none runs."""


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
    keeps_standbys: bool = False
    _environment: Mapping[str, str] = field(default_factory=dict)
    """Of the processes that were started or reloaded last."""
    _retired: list[tuple[Child, float]] = field(default_factory=list)
    """Processes that were replaced, and when each is killed."""
    _reload_ends_at: float | None = None
    """When the replacements have to be ready; None while none is under way."""
    _is_replaced: bool = False
    """Whether all were replaced, and those before have not all ended."""

    def start(self) -> None:
        self._environment = self.make_environment()
        for role in self.roles:
            role.running = self._begin(role)

    @property
    def children(self) -> list[Child]:
        """Every process that there is."""
        found = [child for role in self.roles for child in (role.running, role.next, role.standby)]
        return [*(child for child in found if child is not None), *(child for child, _ in self._retired)]

    @property
    def is_ready(self) -> bool:
        """Whether every role has a process that is ready. Raises ProcessFailed where one has ended before."""
        for role in self.roles:
            if role.running is not None and role.running.exit_code() is not None:
                raise ProcessFailed(role.running)
        return all(self._is_ready(role.running) for role in self.roles)

    def step(self) -> None:
        for role in self.roles:
            self._look_at(role)
        if self._reload_ends_at is not None:
            self._look_at_replacements(self._reload_ends_at)
        elif self.keeps_standbys and all(self._is_ready(role.running) for role in self.roles):
            self._fill_standbys()
        self._look_at_retired()

    def reload(self, *, anew: bool = False) -> None:
        """Begins to replace every process by one of the code as it is saved now, as soon as all of those are ready.

        `anew`: not by those on standby, which have imported what has changed.
        """
        try:
            self._environment = self.make_environment()
        except LocalModeError as error:
            self.terminal.say(f"Not reloaded, what was loaded before goes on: {error}")
            return
        for role in self.roles:
            self._retire(role.next)
            if anew:
                self._retire(role.standby)
                role.standby = None
            role.is_standby_broken = False
            role.next = self._begin(role)
            role.starts_at = None
        self._reload_ends_at = time.monotonic() + START_SECONDS

    def stop(self, last_seconds: float = 0.0) -> None:
        """Ends all of them, those of the last side first. `last_seconds` is what an API may take besides."""
        for role in self.roles:
            if role.standby is not None:
                role.standby.send(signal.SIGKILL)
        for side in dict.fromkeys(role.side for role in reversed(self.roles)):
            seconds = self.grace_seconds + (last_seconds if side == "api" else 0.0)
            ending = [role for role in self.roles if role.side == side]
            children = [child for role in ending for child in (role.running, role.next, role.standby)]
            stop_all([child for child in children if child is not None], signal.SIGTERM, seconds)
        stop_all([child for child, _ in self._retired], signal.SIGTERM, self.grace_seconds)

    def _begin(self, role: Role) -> Child:
        standby, role.standby = role.standby, None
        child = standby if standby is not None and standby.exit_code() is None else self._standby(role)
        environment = {**self._environment, **role.environment, "NOTIFY_SOCKET": self.readiness.address}
        child.feed(json.dumps(environment).encode() + b"\n")
        return child

    def _standby(self, role: Role) -> Child:
        return Child.start(
            role.name,
            [sys.executable, "-m", "relaykit.local.standby", f"relaykit.{role.side}"],
            log=self.data_dir / "logs" / f"{role.name.replace(' ', '-')}.log",
            env=self._environment,
            death_signal=signal.SIGKILL,
            stdin=None,
            listener=role.listener,
            terminal=self.terminal,
        )

    def _fill_standbys(self) -> None:
        """One at a time, so that they take nothing from what works."""
        for role in self.roles:
            if role.standby is not None and role.standby.exit_code() is not None:
                self.terminal.say(f"{role.standby.end} on standby; the next change is loaded without it.")
                role.standby, role.is_standby_broken = None, True
            if role.standby is None and not role.is_standby_broken:
                role.standby = self._standby(role)
                return

    def _is_ready(self, child: Child | None) -> bool:
        return child is not None and child.exit_code() is None and self.readiness.is_ready(child.pid)

    def _look_at(self, role: Role) -> None:
        """Starts a process in place of one that has ended."""
        running = role.running
        if running is not None and running.exit_code() is not None:
            was_ready = self.readiness.is_ready(running.pid)
            self.readiness.forget(running.pid)
            role.failures = 0 if was_ready else role.failures + 1
            pause = PAUSES_SECONDS[min(role.failures, len(PAUSES_SECONDS) - 1)]
            role.running, role.starts_at = None, time.monotonic() + pause
            self.terminal.say(f"{running.end}; it is started again{f' in {pause:g} s' if pause else ''}.")
        if role.starts_at is not None and time.monotonic() >= role.starts_at and role.next is None:
            role.running, role.starts_at = self._begin(role), None

    def _look_at_replacements(self, ends_at: float) -> None:
        nexts = [role.next for role in self.roles if role.next is not None]
        if all(self._is_ready(child) for child in nexts):
            for role in self.roles:
                self._retire(role.running)
                role.running, role.next = role.next, None
                role.failures, role.starts_at = 0, None
            self._reload_ends_at = None
            self._is_replaced = True
        elif failed := next((child for child in nexts if child.exit_code() is not None), None):
            self._give_up_reload(f"{failed.end} before it was ready")
        elif time.monotonic() > ends_at:
            self._give_up_reload(f"it was not ready after {START_SECONDS:g} s")

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

    def _retire(self, child: Child | None) -> None:
        if child is not None:
            child.send(signal.SIGTERM)
            self._retired.append((child, time.monotonic() + self.grace_seconds))

    def _look_at_retired(self) -> None:
        left = []
        for child, killed_at in self._retired:
            if child.exit_code() is not None:
                self.readiness.forget(child.pid)
                continue
            if time.monotonic() > killed_at:
                child.send(signal.SIGKILL)
            left.append((child, killed_at))
        self._retired = left
        if self._is_replaced and not left:
            self._is_replaced = False
            self.terminal.say("Reloaded.")
