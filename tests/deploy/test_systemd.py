"""deploy/systemd by systemd's own tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes.programs import required
from tests.support.system import ROOT

pytestmark = pytest.mark.deploy

UNITS = ROOT / "deploy" / "systemd"
INSTANCES = (
    "relaykit-api@8000.service",
    "relaykit-api@8000.socket",
    "relaykit-worker@9101.service",
    "relaykit-migrate.service",
    "relaykit.target",
)
MAX_EXPOSURE = 20
"""Of 100, as systemd-analyze reckons it; a unit without any of it has 96."""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program in the place of the one that a machine has after docs/deploy.md."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    for unit in folder.iterdir():
        unit.write_text(unit.read_text().replace("/opt/relaykit/bin/relaykit", "/bin/true"))
    for instance in INSTANCES:
        name, at, rest = instance.partition("@")
        if at:
            shutil.copy(folder / f"{name}@.{rest.partition('.')[2]}", folder / instance)
    return folder


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [required("systemd-analyze"), *arguments], capture_output=True, text=True, timeout=120
    )


def test_verify_finds_nothing(installed: Path) -> None:
    done = analyze("verify", "--man=no", "--recursive-errors=no", *(installed / name for name in INSTANCES))
    assert (done.returncode, done.stderr) == (0, "")


def test_verify_would_find_a_directive_that_is_spelt_wrong(installed: Path) -> None:
    unit = installed / "relaykit-migrate.service"
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSystm="))
    assert "ProtectSystm" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("name", [one for one in INSTANCES if one.endswith(".service")])
def test_a_process_is_exposed_to_little(installed: Path, name: str) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", installed / name)
    assert done.returncode == 0, done.stdout[-300:]


def test_sysusers_takes_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = [required("systemd-sysusers"), f"--root={tmp_path}", str(UNITS / "relaykit.sysusers")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "relaykit:" in (tmp_path / "etc" / "passwd").read_text()
