"""Local mode as a user has it: `relaykit local`, and what it leaves behind."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.services.databases import open_folder, remove_data
from tests.support.system import Caller

ROOT = Path(__file__).parents[3]
START_SECONDS = 300.0
READY_LINE = re.compile(
    r"^Redis: (?:Redis|Valkey) \d+\.\d+\.\d+ \(.+\)\n(?:.*\n)*Relaykit is ready: (http://\S+)/\n", re.M
)


@dataclass(frozen=True)
class ProcessId:
    """A pid with its start time, so that a new process with the same number is not taken for it."""

    pid: int
    started: str

    def alive(self) -> bool:
        fields = _stat(self.pid)
        return fields is not None and fields[19] == self.started and fields[0] not in "ZX"


class LocalMode:
    """One start. `said` and `complained` are its standard output and error so far."""

    def __init__(
        self,
        data_dir: Path,
        command: Sequence[str] = (sys.executable, "-m", "relaykit", "local"),
        folder: Path = ROOT,
        **environ: str,
    ) -> None:
        self.data_dir = data_dir
        self._folder = Path(tempfile.mkdtemp(prefix="output-", dir=data_dir))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**kept, "PORT": "0", "DATA_DIR": str(data_dir), **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def said(self) -> str:
        return (self._folder / "out").read_text()

    @property
    def complained(self) -> str:
        return (self._folder / "err").read_text()

    def ready(self) -> str:
        """Waits for the ready line; the address in it."""
        wait_until(
            "the ready line, or the end",
            lambda: READY_LINE.search(self.said) or self.process.poll() is not None,
        )
        line = READY_LINE.search(self.said)
        assert line, f"exit code {self.process.poll()}\n{self.said}\n{self.complained}"
        return line[1]

    def ended(self) -> int:
        """Waits for its end; the exit code."""
        return self.process.wait(START_SECONDS)

    def kill(self) -> None:
        """Kills it, and waits for the end of all that it has started."""
        family = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        wait_until("the killed start's children are gone", lambda: not any(child.alive() for child in family))

    def stop(self, number: signal.Signals) -> None:
        """Asks it to stop, and makes sure that it did so without a word and without leaving anything."""
        family = descendants(self.process.pid)
        self.process.send_signal(number)
        assert self.ended() == 0, self.complained
        assert not self.complained
        assert not [child for child in family if child.alive()]
        assert_nothing_runs_in(self.data_dir)


async def signed_in(address: str) -> Caller:
    """Alice, with a token of local mode's own issuer."""
    client = httpx2.AsyncClient(base_url=address, timeout=30)
    response = await client.post("/dev/token", json={"sub": "alice", "tenant": None, "ttl_seconds": 600})
    assert response.status_code == 200, response.text
    return Caller(client, response.json()["access_token"])


def kill_all(family: Sequence[ProcessId]) -> None:
    for child in family:
        if child.alive():
            os.kill(child.pid, signal.SIGKILL)


def descendants(pid: int) -> list[ProcessId]:
    """All processes below `pid`."""
    parents: dict[int, list[ProcessId]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(ProcessId(int(entry.name), fields[19]))
    found, open_pids = [], [pid]
    while open_pids:
        for child in parents.get(open_pids.pop(), []):
            found.append(child)
            open_pids.append(child.pid)
    return found


def named(family: list[ProcessId], text: str) -> list[ProcessId]:
    """Those whose command line has `text` in it."""
    return [one for one in family if text in Path(f"/proc/{one.pid}/cmdline").read_text().replace("\0", " ")]


def called(family: list[ProcessId], name: str) -> list[ProcessId]:
    """Those that `ps -e` and `pkill -x` know by `name`: not what forks them, whose command line they have."""
    return [one for one in family if Path(f"/proc/{one.pid}/comm").read_text() == f"{name}\n"]


def assert_nothing_runs_in(data_dir: Path) -> None:
    """The services hold the lock for as long as one process of theirs lives."""
    with (data_dir / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_until(what: str, condition: Callable[[], object], timeout_seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came true in {timeout_seconds} s: {what}"
        time.sleep(0.02)


@contextmanager
def temporary_data_dir() -> Iterator[Path]:
    """Removed after the block."""
    folder = open_folder("relaykit-local-")
    try:
        yield folder
    finally:
        remove_data(folder)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the name: state, parent, ..., start time as the 20th."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
