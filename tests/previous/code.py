"""The release before as code: its packages out of git, for processes that are really of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from relaykit.shared.settings import Settings
from tests.previous import commit
from tests.previous.__main__ import PACKAGES, ROOT, unpack
from tests.support.system import START_SECONDS, Process, Processes, wait_until


def previous_code(folder: Path) -> dict[str, str]:
    """Unpacks it; the environment of a process that runs it. Skips the test where git's history ends before it."""
    known = ["git", "cat-file", "-e", f"{commit()}^{{commit}}"]
    if subprocess.run(known, cwd=ROOT, check=False, capture_output=True).returncode != 0:
        pytest.skip(f"the commit of the release before, {commit()[:12]}, is not here: git fetch --unshallow")
    unpack(commit(), folder, *PACKAGES, "web")
    # safe: without the folder that it is started in, which would come first
    # until that release is one that has the package, its modules lie at the top
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "PYTHONSAFEPATH": "1"}
    tell = "import api, shared, worker; print(api.__file__, shared.__file__, worker.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", tell],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert found.count(f"{folder}/") == len(PACKAGES), found
    return {**environment, "package": ""}


def migrate(settings: Settings) -> None:
    """As this release does it."""
    environment = {**os.environ, "DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "relaykit.shared.postgres.migrate"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=START_SECONDS)


async def started(system: Processes, code: dict[str, str], **more: str) -> Process:
    """A worker, once it is there."""
    process = system.start_worker(**code, **more)
    await wait_until("the worker is there", lambda: "worker started" in process.output, START_SECONDS)
    return process
