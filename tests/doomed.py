"""API and worker processes that die at one exact point, by their own kill -9, or whose clock is wrong.

They are forked from a process that has imported everything, so that each starts in no time; what they run is the
product's own `main`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

from shared.settings import Settings
from tests.system import environment

_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(
    ["api.__main__", "worker.__main__", "tests.relay_servers", "tests.blocking_servers"]
)


@dataclass(frozen=True)
class Point:
    """Right before or after the nth call of a method: `package.module:Class.method`."""

    method: str
    when: Literal["before", "after"] = "before"
    nth: int = 1


@contextmanager
def process(
    module: Literal["api", "worker"],
    settings: Settings,
    log: Path,
    *,
    dies_at: Point | None = None,
    clock_ahead_seconds: float = 0.0,
    **more: str,
) -> Iterator[ForkServerProcess]:
    """A process of the product; killed after the block if it still lives. Its output goes to `log`."""
    environ = environment(settings, **more)
    log.touch()
    child = _forkserver.Process(target=_run, args=(module, environ, log, dies_at, clock_ahead_seconds))
    child.start()
    try:
        yield child
    finally:
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGCONT)
            child.kill()
        child.join()


def _run(
    module: str, environ: dict[str, str], log: Path, dies_at: Point | None, clock_ahead_seconds: float
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.set_wakeup_fd(-1)
    if clock_ahead_seconds:
        true_time = time.time
        time.time = lambda: true_time() + clock_ahead_seconds
    if dies_at is not None:
        _arm(dies_at)
    os._exit(importlib.import_module(f"{module}.__main__").main())


def _arm(point: Point) -> None:
    path, _, qualified = point.method.partition(":")
    class_name, _, name = qualified.partition(".")
    owner = getattr(importlib.import_module(path), class_name)
    setattr(owner, name, _deadly(getattr(owner, name), point))


def _deadly(method: Callable[..., Any], point: Point) -> Callable[..., Any]:
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
