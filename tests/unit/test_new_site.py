"""`relaykit new`: what it writes, and where it writes nothing."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from relaykit.cli import main
from relaykit.shared.version import VERSION

FILES = {
    ".dockerignore",
    ".env",
    ".gitignore",
    "Dockerfile",
    "README.md",
    "chat.py",
    "page.html",
    "pyproject.toml",
    "tests/test_chat.py",
    "web.py",
}


def written(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_a_site_of_the_folders_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", str(tmp_path / "Tea Shop")]) == 0
    files = written(tmp_path / "Tea Shop")
    assert files.keys() == FILES
    assert not [name for name, text in files.items() if "{{" in text or "}}" in text]
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert (project["name"], project["dependencies"]) == ("tea-shop", [f"relaykit>={VERSION}"])
    assert "# Tea Shop" in files["README.md"]
    assert {".env", ".relaykit/", ".venv/"} <= set(files[".dockerignore"].splitlines())
    for name, text in files.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
    assert "relaykit dev" in capsys.readouterr().out


def test_this_folder_will_do_with_an_environment_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    (folder / ".venv").mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert main(["new", "."]) == 0
    assert written(folder).keys() == FILES
    assert capsys.readouterr().out.endswith("Next: relaykit dev\n")


@pytest.mark.parametrize("name", ["full", "file", "🎈", "a\nb", "x" * 61])
def test_a_folder_that_cannot_take_it_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "chat.py").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = written(tmp_path)
    assert main(["new", str(tmp_path / name)]) == 2
    assert written(tmp_path) == before
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("relaykit new: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["new", str(tmp_path / "shop")]) == 2
    assert "Permission denied" in capsys.readouterr().err
