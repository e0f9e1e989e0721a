"""The documentation's form: lines of 120 columns, files that exist, decisions with their four parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.repository.documents import PAGES, ROOT, page_name, paths, prose

MAX_COLUMNS = 120
CHANGELOG = ROOT / "CHANGELOG.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
PARTS = ("Context", "Decision", "Consequences", "Alternatives")
_LINK = re.compile(r"\[[^\]]*\]\([^)]*\)|https?://\S+")
_NAME_IN_FILE = re.compile(r"`(\w+)`\s+(?:in|of)\s+`([\w/]+\.py)`", re.ASCII)
_PART = re.compile(r"\*\*([A-Z][a-z]+)\.\*\*", re.ASCII)


def kept(page: str) -> str:
    """What the rule holds for: of the changelog what is not released, because a released part stays as it is."""
    return page.split("\n## ")[1] if page.startswith("# Changelog") else page


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_are_wrapped(page) -> None:
    """But for tables, code blocks, and lines that a link makes long."""
    long = [
        f"line {number}: {len(line)} columns"
        for number, line in prose(kept(page.read_text()))
        if len(line) > MAX_COLUMNS and not line.startswith("|") and not _LINK.search(line)
    ]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_files_that_it_names_exist(page) -> None:
    assert [path for path in paths(kept(page.read_text())) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_names_that_it_finds_in_a_file_are_there(page) -> None:
    """Such as `Kind` in `shared/runs/run.py`: a change of the name mends the page."""
    missing = [
        f"{name} in {path}"
        for name, path in _NAME_IN_FILE.findall(kept(page.read_text()))
        if not re.search(rf"\b{name}\b", (ROOT / path).read_text())
    ]
    assert missing == []


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().split("\n## Rooms")[1]
    rooms = {
        f"{file.parent.relative_to(ROOT)}/"
        for side in ("api", "worker", "shared")
        for file in (ROOT / side).glob("*/__init__.py")
    }
    assert sorted(rooms - set(paths(text))) == []


@pytest.mark.parametrize("page", DECISIONS, ids=page_name)
def test_a_decision_has_its_four_parts_in_order(page) -> None:
    """Each half of a record that has halves has them too."""
    for half in re.split(r"^## ", page.read_text(), flags=re.MULTILINE):
        found = [part for part in _PART.findall(half) if part in PARTS]
        assert found in ([], list(PARTS)), page.name
    assert _PART.search(page.read_text()), f"{page.name} has no parts"
    assert "**Else.**" not in page.read_text()


TESTS_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_each_test_that_a_page_names_is_there(page: Path) -> None:
    """A page that gives a test as its evidence is as good as that test."""
    missing = [
        f"{file}::{name}"
        for file, name in TESTS_NAMED.findall(page.read_text())
        if f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert not missing
