"""API and worker processes that die at one exact point, by their own kill -9, or whose clock is wrong."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from inspect import iscoroutinefunction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

from relaykit.shared.settings import Settings
from tests.support.processes.forked import fork
from tests.support.system import environment


@dataclass(frozen=True)
class CrashPoint:
    """Right before or after the nth call of a method: `package.module:Class.method`."""

    method: str
    when: Literal["before", "after"] = "before"
    nth: int = 1


@contextmanager
def process(
    side: Literal["api", "worker"],
    settings: Settings,
    log: Path,
    *,
    dies_at: CrashPoint | None = None,
    clock_ahead_seconds: float = 0.0,
    **more: str,
) -> Iterator[ForkServerProcess]:
    """A process of the product; killed after the block if it still lives. Its output goes to `log`."""
    prepare = partial(_prepare, dies_at, clock_ahead_seconds)
    child = fork(side, environment(settings, **more), log, prepare)
    try:
        yield child
    finally:
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGCONT)
            child.kill()
        child.join()


def _prepare(dies_at: CrashPoint | None, clock_ahead_seconds: float) -> None:
    if clock_ahead_seconds:
        true_time = time.time
        time.time = lambda: true_time() + clock_ahead_seconds
    if dies_at is not None:
        arm(dies_at)


def arm(point: CrashPoint) -> None:
    """In the process that dies."""
    path, _, qualified = point.method.partition(":")
    class_name, _, name = qualified.partition(".")
    owner = getattr(importlib.import_module(path), class_name)
    setattr(owner, name, _deadly(getattr(owner, name), point))


def _deadly(method: Callable[..., Any], point: CrashPoint) -> Callable[..., Any]:
    calls = 0

    def die_if_due(when: str) -> None:
        nonlocal calls
        calls += when == "before"
        if when == point.when and calls == point.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if iscoroutinefunction(method):

        @wraps(method)
        async def deadly(*arguments: Any, **named: Any) -> Any:
            die_if_due("before")
            result = await method(*arguments, **named)
            die_if_due("after")
            return result

    else:

        @wraps(method)
        def deadly(*arguments: Any, **named: Any) -> Any:
            die_if_due("before")
            result = method(*arguments, **named)
            die_if_due("after")
            return result

    return deadly
