"""The processes of local mode: forked by one on standby, started again when they end, ended when they hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relaykit.local.fleet import Fleet, Role
from relaykit.local.readiness import readiness
from relaykit.local.terminal import Terminal
from tests.support.processes.local_mode import ROOT, wait_until

HOUR_SECONDS = 3600.0
SIDE = """
import os, sys, time
from pathlib import Path
from relaykit.shared.process.notify import READY, notify

folder = Path(os.environ["FOLDER"])
while not (folder / "may import").exists():
    time.sleep(0.01)
WORD_AT_IMPORT = os.environ.get("WORD")

def run():
    how = (folder / "how").read_text()
    if how == "hangs":
        time.sleep(3600)
    sizes = sum(len(value) for name, value in os.environ.items() if name.startswith("LARGE"))
    (folder / "got").write_text(f"{os.getppid()} {WORD_AT_IMPORT} {os.environ.get('WORD')} {sizes}")
    notify(READY)
    if how == "ends":
        sys.exit(3)
    while True:
        time.sleep(1)
"""


@dataclass
class Local:
    """A fleet of one process, which does as the file `how` says."""

    folder: Path
    fleet: Fleet
    more: dict[str, str] = field(default_factory=dict)

    @property
    def role(self) -> Role:
        return self.fleet.roles[0]

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def pid(self) -> int:
        assert self.role.running is not None
        assert self.role.running.pid is not None
        return self.role.running.pid

    def does(self, how: str) -> None:
        (self.folder / "how").write_text(how)

    def may_import(self) -> None:
        (self.folder / "may import").touch()

    def until(self, what: str, condition: Callable[[], object]) -> None:
        def stepped() -> object:
            self.fleet.step()
            return condition()

        wait_until(what, stepped)

    def is_ready(self) -> bool:
        return self.role.ready_at is not None

    def got(self) -> list[str]:
        """Of the process that became ready last: what forked it, WORD when that imported, WORD now, further bytes."""
        return (self.folder / "got").read_text().split()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    package = tmp_path / "tiny_side"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(SIDE)
    path = f"{tmp_path}{os.pathsep}{ROOT}"

    def environment() -> Mapping[str, str]:
        return {"FOLDER": str(tmp_path), "PYTHONPATH": path, **found.more}

    with (tmp_path / "said").open("w") as out, closing(Terminal(out)) as terminal, readiness() as ready:
        fleet = Fleet(
            [Role("side 0", "side", "tiny_side", {})],
            environment,
            tmp_path,
            ready,
            terminal,
            grace_seconds=30,
        )
        found = Local(tmp_path, fleet)
        found.does("runs")
        try:
            yield found
        finally:
            fleet.kill()
            fleet.stop()


def started(local: Local) -> None:
    local.may_import()
    local.fleet.start()
    local.until("it is ready", local.is_ready)


def test_one_that_ends_right_after_it_was_ready_is_started_again_after_growing_pauses(local: Local) -> None:
    """It would keep a core busy otherwise. The first time may be somebody's `kill`."""
    local.fleet.steady_seconds = HOUR_SECONDS
    local.does("ends")
    local.may_import()
    local.fleet.start()
    local.until("three ends are said", lambda: "ended with code 3; it is started again in 2 s." in local.said)
    lines = [line for line in local.said.splitlines() if "started again" in line]
    assert lines == [
        f"side 0 ended with code 3; it is started again{pause}." for pause in ("", " in 1 s", " in 2 s")
    ]


def test_one_that_was_ready_for_long_is_started_again_at_once_each_time(local: Local) -> None:
    local.fleet.steady_seconds = 0
    started(local)
    for number in (1, 2, 3):
        os.kill(local.pid, signal.SIGKILL)
        line = "side 0 was ended by SIGKILL; it is started again.\n"
        local.until("its end is said", lambda: local.said.count(line) == number)  # noqa: B023
        local.until("it is ready again", local.is_ready)


@pytest.mark.parametrize("imports", [True, False])
def test_one_that_hangs_when_it_is_started_again_is_ended_and_started_again(
    local: Local, *, imports: bool
) -> None:
    """In the site's code, or before that: what forks it does not come to an end of its imports."""
    started(local)
    local.fleet.start_seconds = 0.2
    if imports:
        local.does("hangs")
        os.kill(local.pid, signal.SIGKILL)
    else:
        (local.folder / "may import").unlink()
        os.kill(int(local.got()[0]), signal.SIGKILL)
    local.until("it is ended", lambda: "side 0 is not ready after 0.2 s; it is ended." in local.said)
    local.fleet.start_seconds = HOUR_SECONDS
    local.does("runs")
    local.may_import()
    local.until("the one after it is ready", local.is_ready)
    assert "side 0 was ended by SIGKILL; it is started again in 1 s." in local.said


def test_a_stop_waits_for_no_imports(local: Local) -> None:
    local.fleet.start()
    local.fleet.stop()
    assert local.role.running is not None
    assert local.role.running.end == "side 0 was ended by SIGKILL"


def test_an_environment_longer_than_a_pipe_holds_up_nothing(local: Local) -> None:
    """It is ordered while nothing reads: what forks has yet to import."""
    local.more.update({f"LARGE{number}": "x" * 100_000 for number in range(5)})
    local.fleet.start()
    local.fleet.reload()
    local.may_import()
    local.until("it is ready", lambda: local.role.next is None and local.is_ready())
    assert local.got()[3] == "500000"


def test_a_reload_forks_from_what_has_imported_all_and_another_environment_is_imported_anew(
    local: Local,
) -> None:
    """What forked the processes before ends with the last of them."""
    local.more["WORD"] = "first"
    started(local)
    parent, pid = local.got()[0], local.pid
    assert local.got()[1:3] == ["first", "first"]
    local.fleet.reload()
    local.until("another is ready", lambda: local.pid != pid)
    assert local.got()[0] == parent
    local.more["WORD"] = "second"
    local.fleet.reload()
    local.until("it is reloaded", lambda: local.said.count("Reloaded.") == 2)
    assert local.got()[1:3] == ["second", "second"]
    local.until("the one before is gone", lambda: not Path(f"/proc/{parent}").exists())


def test_the_end_of_what_forks_ends_its_process_and_both_are_started_again(local: Local) -> None:
    started(local)
    parent, pid = int(local.got()[0]), local.pid
    os.kill(parent, signal.SIGKILL)
    local.until("its end is said", lambda: "side 0 was ended by SIGKILL; it is started again." in local.said)
    local.until("another is ready", local.is_ready)
    assert int(local.got()[0]) != parent
    wait_until("the process is gone", lambda: not Path(f"/proc/{pid}").exists())


def test_a_replacement_that_is_overtaken_before_it_is_forked_ends(local: Local) -> None:
    """Two files are saved while what forks is importing: the process of the first never serves."""
    started(local)
    (local.folder / "may import").unlink()
    local.more["WORD"] = "second"
    local.fleet.reload()
    overtaken = local.role.next
    local.fleet.reload()
    local.may_import()
    local.until("it is reloaded", lambda: "Reloaded." in local.said)
    assert overtaken is not None
    assert overtaken.exit_code() == -signal.SIGTERM
    assert local.role.running is not overtaken
