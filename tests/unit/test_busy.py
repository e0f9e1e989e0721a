"""The machine is kept busy for as long as the command runs, and no longer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes.local_mode import descendants, named, wait_until
from tests.support.system import ROOT

COMMAND = [sys.executable, "-m", "tests.busy"]
WAIT = (
    "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\nsys.exit(7)"
)


def test_the_busy_processes_end_with_the_command_whose_code_is_told(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = subprocess.Popen([*COMMAND, sys.executable, "-c", WAIT, str(gate)], cwd=ROOT, env={"BUSY": "1"})
    wait_until("they and the command run", lambda: len(named(descendants(run.pid), "tests.busy")) >= 1)
    wait_until("the command runs", lambda: named(descendants(run.pid), str(gate)))
    busy = [one for one in named(descendants(run.pid), "tests.busy") if one.alive()]
    before = sum(cpu_ticks(one.pid) for one in busy)
    wait_until("they compute", lambda: sum(cpu_ticks(one.pid) for one in busy) > before)
    gate.touch()
    assert run.wait(120) == 7
    assert not [one for one in busy if one.alive()]


def test_they_end_where_the_run_is_ended() -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        run = subprocess.Popen(
            [*COMMAND, sys.executable, "-c", "import time; time.sleep(5)"], cwd=ROOT, env={"BUSY": "1"}
        )
        wait_until("they run", lambda run=run: named(descendants(run.pid), "time.sleep(5)"))
        busy = [one for one in descendants(run.pid) if one not in named(descendants(run.pid), "time.sleep")]
        run.send_signal(number)
        run.wait(120)
        wait_until("they have ended", lambda busy=busy: not [one for one in busy if one.alive()])


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
