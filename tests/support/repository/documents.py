"""The documentation as the tests read it: its files, its tables, and the paths of the repository that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    (
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "references").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    )
)
HEAD_LINES = 2
"""Of a table: the names of the columns, and the line below them."""
_FENCE = re.compile(r"^ *(```|~~~)")
_PATH = re.compile(
    r"`((?:api|bench|deploy|docs|examples|references|relaykit|scripts|shared|tests|web|worker|\.githooks)/[\w./-]+)`",
    re.ASCII,
)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a page outside its code blocks, each with its number."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def code_blocks(text: str) -> list[str]:
    """What stands in the fenced blocks of a page, without the fences."""
    blocks: list[list[str]] = []
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            if fenced:
                blocks.append([])
        elif fenced:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks]


def rows(text: str) -> Iterator[list[str]]:
    """The rows of a page's tables, without their heads."""
    in_table = 0
    for _, line in prose(text):
        in_table = in_table + 1 if line.startswith("|") else 0
        if in_table > HEAD_LINES:
            yield [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def paths(text: str) -> list[str]:
    """The files and folders of the repository that a page names in code type, but for `api/...` and `NNNN_what`."""
    return [path for path in _PATH.findall(text) if "..." not in path and "NNNN" not in path]
