"""What the person at the terminal sees: local mode's own lines, and those of its processes with their names."""

from __future__ import annotations

import os
import queue
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TextIO

LOG_BYTES: Final = 5_000_000
"""A log file that is longer than this at a start goes on as another."""
WAITING_LINES: Final = 10_000
"""Lines that wait for a terminal which does not take them, `less` for instance. Those beyond are in the log files."""
CLOSE_SECONDS: Final = 1.0
COLOURS: Final = (36, 35, 34, 33, 32)
"""Of the names: cyan, magenta, blue, yellow, green."""
ESCAPES: Final = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """Takes whole lines from any thread, and makes none of them wait for the terminal."""

    def __init__(self, out: TextIO | None) -> None:
        """`out` is sys.stdout, which is None where it was closed. Its descriptor alone is used, because a thread that
        waits in its buffer would keep the interpreter from ending.
        """
        self.has_colours = out is not None and out.isatty()
        self._descriptor = None if out is None else out.fileno()
        self._encoding = "utf-8" if out is None else out.encoding
        self._lines: queue.Queue[str | None] = queue.Queue(WAITING_LINES)
        self._colours: dict[str, int] = {}
        self._writer = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._writer.start()

    def say(self, text: str) -> None:
        """A line of local mode's own."""
        self._put(text)

    def show(self, name: str, line: bytes) -> None:
        """A line of the process `name`."""
        text = line.decode(errors="replace").rstrip("\n")
        prefix = f"{name:<8} |"
        if self.has_colours:
            prefix = f"\x1b[{self._colour(name)}m{prefix}\x1b[0m"
        self._put(f"{prefix} {text}")

    def close(self) -> None:
        """Waits for what was said to be written, if the terminal takes it."""
        with suppress(queue.Full):
            self._lines.put(None, timeout=CLOSE_SECONDS)
            self._writer.join(CLOSE_SECONDS)

    def _put(self, line: str) -> None:
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            left = f"{line}\n".encode(self._encoding, "backslashreplace")
            with suppress(OSError):  # the terminal is gone
                while left and self._descriptor is not None:
                    left = left[os.write(self._descriptor, left) :]

    def _colour(self, name: str) -> int:
        return self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])


class Output:
    """The output of one process: each line goes to the terminal, and without its colours to the log file."""

    def __init__(self, name: str, pipe: BinaryIO, log: Path, terminal: Terminal) -> None:
        self._name = name
        self._pipe = pipe
        self._terminal = terminal
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".1.log"))
        self._log = log.open("ab", buffering=0)
        self._thread = threading.Thread(target=self._copy, name=f"output of {name}", daemon=True)
        self._thread.start()

    def wait(self, timeout_seconds: float) -> None:
        """Waits for the end of what the process wrote. A process that it has left behind may hold the pipe open."""
        self._thread.join(timeout_seconds)

    def _copy(self) -> None:
        """To the end, whatever becomes of file and terminal: otherwise the process could not print."""
        with self._pipe, self._log:
            for line in self._pipe:
                with suppress(OSError):  # the disk is full
                    self._log.write(ESCAPES.sub(b"", line))
                self._terminal.show(self._name, line)
