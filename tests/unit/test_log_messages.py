"""Log lines by their source: a constant message, a stable action, and what happens next where something failed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.repository.documents import ROOT

FILES = sorted(file for side in ("api", "worker", "shared") for file in (ROOT / side).rglob("*.py"))
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

ENDS = frozenset({"loop_unblocked"})
"""Actions of warnings that tell the end of what an earlier line began."""


@dataclass(frozen=True)
class Line:
    """A call of the log. `message` and `action` are None where they are no constants."""

    place: str
    level: str
    message: str | None
    action: str | None


def logged() -> Iterator[Line]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level in LEVELS:
                    action = next((each.value for each in node.keywords if each.arg == "action"), None)
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    yield Line(place, level, text_of(node.args[0] if node.args else None), text_of(action))


def text_of(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


LINES = list(logged())
LOGGED = {line.action for line in LINES if line.action is not None}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place)
def test_a_line_has_a_constant_message_and_a_stable_action(line: Line) -> None:
    assert line.message is not None
    assert line.action is not None
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", line.action)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place)
def test_a_warning_names_what_failed_and_what_happens_next(line: Line) -> None:
    """`what failed: what happens next`, both in words that need no knowledge of the code."""
    if line.level in ("warning", "error", "critical") and line.action not in ENDS:
        failed, _, after = (line.message or "").partition(": ")
        assert len(failed.split()) >= 2, line
        assert len(after.split()) >= 2, line


def test_the_actions_in_the_operators_table_are_logged() -> None:
    """Those of the first column, and the others that the page names as `action=...`."""
    cells = [row.split("|")[1] for row in OPERATIONS.splitlines() if "action=" in row and row.startswith("|")]
    named = set(re.findall(r"action=(\w+)", OPERATIONS))
    for cell in cells:
        words = re.findall(
            r"`(?:action=)?(\w+)`", cell.partition("action=")[1] + cell.partition("action=")[2]
        )
        named |= {word for word in words if "_" in word and word.islower()} - NOT_ACTIONS
    assert sorted(named - LOGGED) == []


NOT_ACTIONS = frozenset({"bad_setting", "server_blocked", "too_many_connections"})
"""Error codes that stand in the same cells."""
