"""What the person at the terminal sees: local mode's own lines, and those of its processes with their names."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO

LOG_BYTES = 5_000_000
"""A log file that is longer than this at a start goes on as another."""
COLOURS = (36, 35, 34, 33, 32)
"""Of the names: cyan, magenta, blue, yellow, green."""
ESCAPES = re.compile(rb"\x1b\[[0-9;]*m")


class Terminal:
    """Writes whole lines, one at a time, whichever thread they come from."""

    def __init__(self, out: TextIO) -> None:
        self.has_colours = out.isatty()
        self._out = out
        self._writing = threading.Lock()
        self._colours: dict[str, int] = {}

    def say(self, text: str) -> None:
        """A line of local mode's own."""
        with self._writing:
            print(text, file=self._out, flush=True)

    def show(self, name: str, line: bytes) -> None:
        """A line of the process `name`."""
        text = line.decode(errors="replace").rstrip("\n")
        prefix = f"{name:<8} |"
        if self.has_colours:
            prefix = f"\x1b[{self._colour(name)}m{prefix}\x1b[0m"
        with self._writing, suppress(OSError):  # the terminal is gone, and the log file has the line
            print(f"{prefix} {text}", file=self._out, flush=True)

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
        with self._pipe, self._log:
            for line in self._pipe:
                self._log.write(ESCAPES.sub(b"", line))
                self._terminal.show(self._name, line)
