"""The table of incidents in docs/operations.md, as the tests read it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.repository.documents import ROOT, rows

PAGE = ROOT / "docs" / "operations.md"
HEADING = "## Twelve incidents"
COLUMNS = ("incident", "metric", "alert", "log line", "console", "command")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    """What shows an incident."""

    incident: str
    metrics: tuple[str, ...]
    """Queries of Prometheus that return something in the incident, and nothing while all is well."""
    fires: frozenset[str]
    """The alerts that fire."""
    follows: frozenset[str]
    """Those that fire later, where it lasts."""
    lines: tuple[dict[str, str], ...]
    """Log lines by some of their fields."""
    console: str
    """The page that shows it, and what of the page."""
    commands: tuple[str, ...]


def section() -> str:
    """What stands below the heading, up to the next one of its rank."""
    _, found, rest = PAGE.read_text().partition(f"\n{HEADING}\n")
    assert found, f"{PAGE} has no section {HEADING}"
    return rest.partition("\n## ")[0]


def table() -> dict[str, Row]:
    """Each row by its incident."""
    found = {}
    for cells in rows(section()):
        incident, metrics, alerts, lines, console, commands = cells
        fires, _, follows = alerts.partition(" then ")
        found[incident] = Row(
            incident=incident,
            metrics=_codes(metrics),
            fires=frozenset(_codes(fires)),
            follows=frozenset(_codes(follows)),
            lines=tuple(dict(word.split("=", 1) for word in line.split()) for line in _codes(lines)),
            console=console,
            commands=_codes(commands),
        )
    return found


def _codes(cell: str) -> tuple[str, ...]:
    return tuple(_CODE.findall(cell))
