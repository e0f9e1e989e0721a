"""The end of a process has a bound: neither tasks nor threads nor exit handlers of the site's code hold it up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Final

import structlog

from relaykit.shared.process.exit import end_now

END_SECONDS: Final = 5.0
"""How long a process lasts after its main task, for tasks that clean up, threads that finish, and what libraries have
registered with atexit."""
REPORT_SECONDS: Final = 1.0
"""How long the line about what is left may take after that: it may wait for a lock of the log."""
KERNEL_SECONDS: Final = 2
"""How long a process in which Python cannot run has after that: the kernel ends it, by SIGALRM."""
MAX_NAMES: Final = 20
FAILED_STATUS: Final = 1

log = structlog.get_logger()

_failed = threading.Event()


def note_failure() -> None:
    """A part of the process has failed, which drains for that: it ends with FAILED_STATUS."""
    _failed.set()


def final_status(status: int) -> int:
    return status or (FAILED_STATUS if _failed.is_set() else 0)


def end_within_bound(status: int, loop: asyncio.AbstractEventLoop | None) -> None:
    """Has the process end with this status after END_SECONDS, if it has not by then. For the main thread."""
    last_seconds = END_SECONDS + REPORT_SECONDS
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(last_seconds) + KERNEL_SECONDS)

    def report() -> None:
        time.sleep(END_SECONDS)
        try:
            _report(loop)
        finally:
            end_now(status)

    def end() -> None:
        time.sleep(last_seconds)
        os._exit(status)

    for target in (report, end):
        threading.Thread(target=target, name="process-end", daemon=True).start()


def names_of(tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """The names of their code: those that a site gives to tasks may quote a user."""
    return sorted(getattr(task.get_coro(), "__qualname__", "task") for task in tasks)[:MAX_NAMES]


def _report(loop: asyncio.AbstractEventLoop | None) -> None:
    log.error(
        "threads or tasks have not ended in time: the process ends without them",
        action="process_end_forced",
        seconds=END_SECONDS,
        threads=_threads(),
        tasks=[] if loop is None or loop.is_closed() else names_of(asyncio.all_tasks(loop)),
        main_thread=_main_thread(),
    )


def _threads() -> list[str]:
    """Those that the interpreter waits for."""
    main = threading.main_thread()
    waited_for = (thread for thread in threading.enumerate() if not thread.daemon and thread is not main)
    return sorted(thread.name for thread in waited_for)[:MAX_NAMES]


def _main_thread() -> list[str]:
    """Where it stands, innermost last."""
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    return list(_places(frame))[:8][::-1]


def _places(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        code = frame.f_code
        yield f"{code.co_filename}:{frame.f_lineno}:{code.co_name}"
        frame = frame.f_back
