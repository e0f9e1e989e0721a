"""Where a cell's code stands, in memory that outlives the process: file, line and function, never a value.

A thread notes every 10 ms where the loop's thread is, or where each run waits. What ends the process too fast for that
notes the place itself: os.kill and os._exit as they are called, a fault of the machine by Python's faulthandler. Only
native code that ends the process by itself is not seen; then the last place is where its run waited before.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import mmap
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, islice
from tempfile import TemporaryFile
from types import AsyncGeneratorType, FrameType
from typing import IO, Any

from relaykit.worker.keeper.last_resort import BLOCKED_STATUS

SAMPLE_SECONDS = 0.01
SLOT_BYTES = 4096
"""Size of one note. There are two, written by turns: a process that dies while it writes leaves the other."""
AREA_BYTES = 3 * SLOT_BYTES
MAX_PLACES = 8
MAX_RUNS = 8
"""Runs whose places are noted; more would make the thread a burden."""
FAULT_BYTES = 65_536
FATAL = frozenset(
    {signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
)

_FAULT = re.compile(r'File "(.*)", line (\d+) in (.*)')

Tasks = Callable[[], Mapping[str, asyncio.Task[Any] | None]]


class LastPlace:
    """The worker's end: reads what the process in the cell has noted."""

    def __init__(self) -> None:
        self.file: IO[bytes] = TemporaryFile()  # noqa: SIM115
        self.file.truncate(AREA_BYTES)
        self._area = mmap.mmap(self.file.fileno(), AREA_BYTES)

    @property
    def looks(self) -> int:
        """How often the process has noted something: one that does not is frozen."""
        return int.from_bytes(self._area[:8], "little")

    def places(self, run_id: str) -> list[str]:
        """The last places of the loop's thread, innermost last; of the run alone where the loop had nothing to do."""
        if fault := self._fault():
            return fault
        slot = self._area[(start := _slot(self.looks)) : start + SLOT_BYTES].rstrip(b"\0")
        try:
            noted = json.loads(slot)
        except ValueError:  # the process was killed before its first note
            return []
        return list(noted.get("loop") or noted.get(run_id) or [])

    def _fault(self) -> list[str]:
        text = os.pread(self.file.fileno(), FAULT_BYTES, AREA_BYTES).decode(errors="replace")
        found = [":".join(match.groups()) for match in _FAULT.finditer(text)]
        return found[:MAX_PLACES][::-1]

    def close(self) -> None:
        self._area.close()
        self.file.close()


class PlaceNotes:
    """The process's end."""

    def __init__(self, file: int, tasks: Tasks) -> None:
        self._file, self._tasks = file, tasks
        self._area = mmap.mmap(file, AREA_BYTES)
        self._process = os.getpid()
        self._numbers = count(1)
        self._noted_until = 0.0
        self._lock = threading.Lock()

    def start(self, every_look: Callable[[], None]) -> None:
        """Notes from now on; called in the thread of the running loop. `every_look` is called in the other one."""
        os.lseek(self._file, AREA_BYTES, os.SEEK_SET)
        faulthandler.enable(self._file, all_threads=False)
        sys.addaudithook(self._audit)
        exit_at_once = os._exit

        def noting_exit(status: int) -> None:
            if status != BLOCKED_STATUS:  # else the keeper ends the process, which has named the place
                self._note_end()
            exit_at_once(status)

        os._exit = noting_exit  # type: ignore[assignment]
        loop, thread = asyncio.get_running_loop(), threading.get_ident()

        def look() -> None:
            while True:
                time.sleep(SAMPLE_SECONDS)
                try:
                    self._look(loop, thread)
                except Exception:
                    # what is looked at changes meanwhile; a process that notes nothing would be taken for frozen
                    self._write({})
                every_look()

        threading.Thread(target=look, name="last place", daemon=True).start()

    def _look(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        if time.monotonic() < self._noted_until:
            return
        if asyncio.current_task(loop) is not None:
            self._write({"loop": _running(sys._current_frames().get(thread))})
            return
        tasks = list(islice(dict(self._tasks()).items(), MAX_RUNS))
        self._write({run_id: _waiting(task) for run_id, task in tasks if task is not None})

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event == "os.kill"
            and arguments[1] in FATAL
            and (arguments[0] <= 0 or arguments[0] == self._process)
        ):
            self._note_end()

    def _note_end(self) -> None:
        """The process is about to end here. What it has forked uses the same memory, and is not meant."""
        if os.getpid() == self._process:
            self._write({"loop": _running(sys._getframe(2))})
            self._noted_until = time.monotonic() + 1

    def _write(self, noted: Mapping[str, list[str]]) -> None:
        text = json.dumps(noted).encode()
        if len(text) > SLOT_BYTES:
            text = b"{}"
        with self._lock:
            number = next(self._numbers)
            start = _slot(number)
            self._area[start : start + SLOT_BYTES] = text.ljust(SLOT_BYTES, b"\0")
            self._area[:8] = number.to_bytes(8, "little")


def _slot(number: int) -> int:
    return SLOT_BYTES * (1 + number % 2)


def _running(frame: FrameType | None) -> list[str]:
    places: list[str] = []
    while frame is not None and len(places) < MAX_PLACES:
        places.append(_place(frame))
        frame = frame.f_back
    return places[::-1]


def _waiting(task: asyncio.Task[Any]) -> list[str]:
    """Where the task's coroutine waits, down to the innermost that it awaits."""
    return [_place(frame) for frame in islice(_frames(task.get_coro()), 64)][-MAX_PLACES:]


def _frames(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None:
        for kind in ("cr", "ag", "gi"):
            if (frame := getattr(awaited, f"{kind}_frame", None)) is not None:
                yield frame
                awaited = getattr(awaited, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            # only the collector can tell the generator of what `async for` awaits
            awaited = next(
                (each for each in gc.get_referents(awaited) if isinstance(each, AsyncGeneratorType)), None
            )


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno}:{code.co_name}"
