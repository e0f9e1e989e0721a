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

Environment = Callable[[], Mapping[str, str]]


@dataclass
class Place:
    """A place for a process, such as `worker 0`, and what is there."""

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

    places: Sequence[Place]
    environment: Environment
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
        self._environment = self.environment()
        for place in self.places:
            place.running = self._begin(place)

    @property
    def children(self) -> list[Child]:
        """Every process that there is."""
        found = [child for place in self.places for child in (place.running, place.next, place.standby)]
        return [*(child for child in found if child is not None), *(child for child, _ in self._retired)]

    @property
    def is_ready(self) -> bool:
        """Whether every place has a process that is ready. Raises ProcessFailed where one has ended before."""
        for place in self.places:
            if place.running is not None and place.running.exit_code() is not None:
                raise ProcessFailed(place.running)
        return all(self._is_ready(place.running) for place in self.places)

    def step(self) -> None:
        for place in self.places:
            self._look_at(place)
        if self._reload_ends_at is not None:
            self._look_at_replacements(self._reload_ends_at)
        elif self.keeps_standbys and all(self._is_ready(place.running) for place in self.places):
            self._fill_standbys()
        self._look_at_retired()

    def reload(self, *, anew: bool = False) -> None:
        """Begins to replace every process by one of the code as it is saved now, as soon as all of those are ready.

        `anew`: not by those on standby, which have imported what has changed.
        """
        try:
            self._environment = self.environment()
        except LocalModeError as error:
            self.terminal.say(f"Not reloaded, what was loaded before goes on: {error}")
            return
        for place in self.places:
            self._retire(place.next)
            if anew:
                self._retire(place.standby)
                place.standby = None
            place.is_standby_broken = False
            place.next = self._begin(place)
            place.starts_at = None
        self._reload_ends_at = time.monotonic() + START_SECONDS

    def stop(self, last_seconds: float = 0.0) -> None:
        """Ends all of them, those of the last side first. `last_seconds` is what an API may take besides."""
        for place in self.places:
            if place.standby is not None:
                place.standby.send(signal.SIGKILL)
        for side in dict.fromkeys(place.side for place in reversed(self.places)):
            seconds = self.grace_seconds + (last_seconds if side == "api" else 0.0)
            ending = [place for place in self.places if place.side == side]
            children = [child for place in ending for child in (place.running, place.next, place.standby)]
            stop_all([child for child in children if child is not None], signal.SIGTERM, seconds)
        stop_all([child for child, _ in self._retired], signal.SIGTERM, self.grace_seconds)

    def _begin(self, place: Place) -> Child:
        standby, place.standby = place.standby, None
        child = standby if standby is not None and standby.exit_code() is None else self._standby(place)
        environment = {**self._environment, **place.environment, "NOTIFY_SOCKET": self.readiness.address}
        child.feed(json.dumps(environment).encode() + b"\n")
        return child

    def _standby(self, place: Place) -> Child:
        return Child.start(
            place.name,
            [sys.executable, "-m", "relaykit.local.standby", f"relaykit.{place.side}"],
            log=self.data_dir / "logs" / f"{place.name.replace(' ', '-')}.log",
            env=self._environment,
            death_signal=signal.SIGKILL,
            stdin=None,
            listener=place.listener,
            terminal=self.terminal,
        )

    def _fill_standbys(self) -> None:
        """One at a time, so that they take nothing from what works."""
        for place in self.places:
            if place.standby is not None and place.standby.exit_code() is not None:
                self.terminal.say(f"{place.standby.end} on standby; the next change is loaded without it.")
                place.standby, place.is_standby_broken = None, True
            if place.standby is None and not place.is_standby_broken:
                place.standby = self._standby(place)
                return

    def _is_ready(self, child: Child | None) -> bool:
        return child is not None and child.exit_code() is None and self.readiness.is_ready(child.pid)

    def _look_at(self, place: Place) -> None:
        """Starts a process in place of one that has ended."""
        running = place.running
        if running is not None and running.exit_code() is not None:
            was_ready = self.readiness.is_ready(running.pid)
            self.readiness.forget(running.pid)
            place.failures = 0 if was_ready else place.failures + 1
            pause = PAUSES_SECONDS[min(place.failures, len(PAUSES_SECONDS) - 1)]
            place.running, place.starts_at = None, time.monotonic() + pause
            self.terminal.say(f"{running.end}; it is started again{f' in {pause:g} s' if pause else ''}.")
        if place.starts_at is not None and time.monotonic() >= place.starts_at and place.next is None:
            place.running, place.starts_at = self._begin(place), None

    def _look_at_replacements(self, ends_at: float) -> None:
        nexts = [place.next for place in self.places if place.next is not None]
        if all(self._is_ready(child) for child in nexts):
            for place in self.places:
                self._retire(place.running)
                place.running, place.next = place.next, None
                place.failures, place.starts_at = 0, None
            self._reload_ends_at = None
            self._is_replaced = True
        elif failed := next((child for child in nexts if child.exit_code() is not None), None):
            self._give_up_reload(f"{failed.end} before it was ready")
        elif time.monotonic() > ends_at:
            self._give_up_reload(f"it was not ready after {START_SECONDS:g} s")

    def _give_up_reload(self, reason: str) -> None:
        for place in self.places:
            self._retire(place.next)
            place.next = None
            if place.running is None:
                place.starts_at = time.monotonic() + PAUSES_SECONDS[-1]
        self._reload_ends_at = None
        goes_on = all(self._is_ready(place.running) for place in self.places)
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
