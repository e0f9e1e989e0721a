"""The hook in .githooks judges what is staged, in a repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository.documents import ROOT

GOOD = '"""A module."""\n'
BAD = "import os\n"
UNFORMATTED = '"""A module."""\n\nNAMES = [ "a" ]\n'


class Repository:
    """A repository with the hook, the settings of ruff, and this environment's ruff."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet")
        self.git("config", "core.hooksPath", str(ROOT / ".githooks"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        self.git("add", "pyproject.toml")

    def git(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder,
            env=environment,
            check=check,
            capture_output=True,
            text=True,
        )

    def write(self, text: str) -> None:
        (self.folder / "module.py").write_text(text)

    def commit(self) -> subprocess.CompletedProcess[str]:
        return self.git("commit", "--quiet", "-m", "A change", check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "ruff").symlink_to(Path(sys.executable).parent / "ruff")
    return Repository(tmp_path)


@pytest.mark.parametrize("text", [BAD, UNFORMATTED])
def test_what_ruff_refuses_is_not_committed(repository: Repository, text: str) -> None:
    repository.write(text)
    repository.git("add", "module.py")
    done = repository.commit()
    assert done.returncode != 0
    assert "module.py" in done.stdout + done.stderr
    assert "make fix" in done.stderr


def test_what_is_staged_counts_and_not_what_the_file_holds_by_now(repository: Repository) -> None:
    repository.write(GOOD)
    repository.git("add", "module.py")
    repository.write(BAD)
    done = repository.commit()
    assert done.returncode == 0, done.stderr
    repository.git("add", "module.py")
    repository.write(GOOD)
    assert repository.commit().returncode != 0


def test_a_commit_without_python_and_one_without_an_environment_pass(repository: Repository) -> None:
    done = repository.commit()
    assert done.returncode == 0, done.stderr
    (repository.folder / ".venv" / "bin" / "ruff").unlink()
    repository.write(BAD)
    repository.git("add", "module.py")
    done = repository.commit()
    assert done.returncode == 0, done.stderr
    assert "make setup" in done.stderr
