"""A terminal, as a newcomer has it: one bash that keeps its folder and variables from a command to the next."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes.local_mode import START_SECONDS, descendants, kill_all, wait_until

MINUTES = 10 * 60.0
"""For a command that installs packages."""


@dataclass(frozen=True)
class Job:
    """A command that runs until it is interrupted."""

    command: str
    pid: int
    output: Path

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")


class Terminal:
    """`close` ends all that was started."""

    def __init__(self, folder: Path, environment: Mapping[str, str], notes: Path) -> None:
        self.jobs: list[Job] = []
        self._notes = notes
        self._commands = 0
        notes.mkdir()
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            text=True,
        )
        self._tell("set -m")  # a job is a process group of its own, which Ctrl-C reaches

    def run(self, command: str) -> str:
        """Executes it and waits for its end; what it printed. Raises AssertionError where its status is not 0."""
        script, output = self._script(command)
        status = output.with_suffix(".status")
        self._tell(
            f'. "{script}" </dev/null >"{output}" 2>&1; echo $? >"{status}.new"; mv "{status}.new" "{status}"'
        )
        wait_until(f"the end of: {command}", lambda: status.exists() or self._has_ended, MINUTES)
        said = output.read_text(errors="replace")
        assert status.exists(), f"the shell ended with: {command}\n{said}"
        assert status.read_text().strip() == "0", f"{command}\n{said}"
        return said

    def start(self, command: str) -> Job:
        """Executes it in another terminal, so to say: beside what comes next, with this one's folder and variables."""
        script, output = self._script(command)
        pid = output.with_suffix(".pid")
        self._tell(
            f'( . "{script}" ) </dev/null >"{output}" 2>&1 & echo $! >"{pid}.new"; mv "{pid}.new" "{pid}"'
        )
        wait_until(f"the start of: {command}", lambda: pid.exists() or self._has_ended)
        assert pid.exists(), f"the shell ended with: {command}"
        job = Job(command, int(pid.read_text()), output)
        self.jobs.append(job)
        return job

    def is_running(self, job: Job) -> bool:
        return any(child.pid == job.pid and child.alive() for child in descendants(self._shell.pid))

    def interrupt(self, job: Job) -> None:
        """Ctrl-C, and waits for its end. Raises AssertionError where a process of its own outlives it."""
        family = descendants(job.pid)
        os.killpg(job.pid, signal.SIGINT)
        wait_until(f"Ctrl-C ends: {job.command}", lambda: not self.is_running(job), START_SECONDS)
        left = [child for child in family if child.alive()]
        assert not left, f"{job.command}: left {len(left)} processes\n{job.said}"
        self.jobs.remove(job)

    def close(self) -> None:
        family = descendants(self._shell.pid)
        self._shell.kill()
        self._shell.wait()
        kill_all(family)
        wait_until("the terminal's processes are gone", lambda: not any(child.alive() for child in family))

    @property
    def _has_ended(self) -> bool:
        return self._shell.poll() is not None

    def _script(self, command: str) -> tuple[Path, Path]:
        self._commands += 1
        script = self._notes / f"{self._commands}.sh"
        script.write_text(f"{command}\n")
        output = script.with_suffix(".out")
        output.touch()  # a job's pid may be known before its shell has opened the file
        return script, output

    def _tell(self, line: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{line}\n")
        self._shell.stdin.flush()
