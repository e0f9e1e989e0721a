"""A burst of the same failure: its first lines are logged, the others are counted and told in one line."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

LINES_AT_ONCE: Final = 10
"""So many lines of one failure are logged within BURST_SECONDS."""
BURST_SECONDS: Final = 10.0
MAX_KINDS: Final = 1_000
"""Failures that are told apart, at most: no code makes as many, unless its error codes come from outside."""
LEVELS: Final = frozenset({"warning", "error"})

log = structlog.get_logger()

Kind = tuple[str, str, str]


@dataclass(slots=True)
class _Burst:
    began_at: float
    lines: int = 0
    left_out: int = 0


class Bursts:
    """A processor of structlog. The same failure is: the same action, type of error and code."""

    def __init__(self, seconds: float = BURST_SECONDS) -> None:
        self._seconds = seconds
        self._bursts: dict[Kind, _Burst] = {}
        self._lock = threading.RLock()  # a signal's handler logs in the midst of another line

    def __call__(
        self, _: structlog.typing.WrappedLogger, level: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if level not in LEVELS or event.get("action") == "lines_left_out":
            return event
        kind = (
            str(event.get("action")),
            str(event.get("error_type", "")),
            str(event.get("cause_code", event.get("code", ""))),
        )
        with self._lock:
            burst = self._bursts.get(kind)
            if burst is None or time.monotonic() - burst.began_at >= self._seconds:
                self._tell(kind)
                if len(self._bursts) >= MAX_KINDS:
                    self._bursts.clear()
                burst = self._bursts[kind] = _Burst(time.monotonic())
            burst.lines += 1
            if burst.lines <= LINES_AT_ONCE:
                return event
            burst.left_out += 1
            if burst.left_out == 1:
                self._tell_later(kind)
        raise structlog.DropEvent

    def _tell_later(self, kind: Kind) -> None:
        timer = threading.Timer(self._seconds, self._tell, [kind])
        timer.name, timer.daemon = "log-bursts", True
        with suppress(RuntimeError):  # no thread can be started: the next line of the kind tells it
            timer.start()

    def _tell(self, kind: Kind) -> None:
        """Ends a burst; says how many of its lines were left out."""
        with self._lock:
            burst = self._bursts.pop(kind, None)
        if burst is None or not burst.left_out:
            return
        log.warning(
            "the same failure came again and again: the lines of it that were left out are counted here",
            action="lines_left_out",
            of=kind[0],
            count=burst.left_out,
            seconds=round(time.monotonic() - burst.began_at, 1),
            **{name: value for name, value in zip(("error_type", "code"), kind[1:], strict=True) if value},
        )
